-- Fails when a signal value is null, NaN or infinite. Every row returned is one such trader.
-- reads: stg_signals__values
with

signal_values as (

    select
        document_id,
        trader,
        signal_value
    from stg_signals__values

)

select
    'signals' as contract,
    concat('the values of trader ', trader, ' are finite') as broken_rule,
    count(*) as failing_rows,
    min(document_id, 3) as example_ids
from signal_values
where
    signal_value is null
    or not isfinite(signal_value)
group by trader
order by trader asc
