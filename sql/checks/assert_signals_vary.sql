-- Fails when a signal has one and the same value for several documents. Every row is such a signal.
-- reads: contract_rows
select
    signal_id,
    min(value) as value,
    count(*) as documents
from contract_rows
group by signal_id
having
    count(*) > 1
    and min(value) = max(value)
