-- Fails when a trader has several values for a candidate. Every row returned is one such trader.
-- reads: stg_signals__values
with

signal_values as (

    select
        document_id,
        trader
    from stg_signals__values

),

repeated_values as (

    select
        document_id,
        trader
    from signal_values
    group by
        document_id,
        trader
    having count(*) > 1

)

select
    'signals' as contract,
    concat('trader ', trader, ' has one value for each document') as broken_rule,
    count(*) as failing_rows,
    min(document_id, 3) as example_ids
from repeated_values
group by trader
order by trader asc
