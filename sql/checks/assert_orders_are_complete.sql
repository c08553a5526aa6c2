-- Fails when a trader has no value for a candidate. Every row returned is one such trader.
-- reads: stg_pool__documents, stg_signals__values, stg_market__traders
with

documents as (

    select document_id
    from stg_pool__documents

),

traders as (

    select trader
    from stg_market__traders

),

signal_values as (

    select
        document_id,
        trader
    from stg_signals__values

),

missing_values as (

    select
        traders.trader,
        documents.document_id
    from documents
    cross join traders
    anti join signal_values
        on
            documents.document_id = signal_values.document_id
            and traders.trader = signal_values.trader

)

select
    'signals' as contract,
    concat('trader ', trader, ' has a value for every document') as broken_rule,
    count(*) as failing_rows,
    min(document_id, 3) as example_ids
from missing_values
group by trader
order by trader asc
