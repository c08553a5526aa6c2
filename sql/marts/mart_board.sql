-- The board: every candidate with all that the market needs to know of it, in key order.
-- grain:  one row per document_id
-- reads:  stg_pool__documents, stg_signals__values
-- params: $trader_k (name of trader k)
with

documents as (

    select
        document_id,
        source,
        topic,
        tokens
    from stg_pool__documents

),

signal_values as (

    select
        document_id,
        trader,
        signal_value
    from stg_signals__values

),

signals as (

    select
        max(signal_value) filter (where trader = $trader_k) as signal_k, -- per trader
        document_id
    from signal_values
    group by document_id

)

select
    documents.document_id,
    documents.source,
    documents.topic,
    signals.signal_k, -- per trader
    documents.tokens
from documents
inner join signals
    on documents.document_id = signals.document_id
order by documents.document_id
