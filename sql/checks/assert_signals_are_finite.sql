-- Fails when a signal's value is NaN or infinite. Every row is a violation.
-- reads: contract_rows
select
    signal_id || '/' || document_id as signal_of_document,
    value
from contract_rows
where not isfinite(value)
