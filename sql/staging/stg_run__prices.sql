-- Candidates of this run with their prices, in key order.
-- grain:  one row per document_id
-- reads:  prices, pool_documents
-- params: $run_id
with

priced as (

    select
        document_id,
        topic,
        tokens,
        log_price,
        log_price_per_token,
        price_rank,
        is_selected,
        contributions
    from prices
    where run_id = $run_id

),

documents as (

    select
        document_id,
        source
    from pool_documents
    where run_id = $run_id

)

select
    priced.document_id,
    documents.source,
    priced.topic,
    priced.tokens,
    priced.log_price,
    priced.log_price_per_token,
    priced.price_rank,
    priced.is_selected,
    priced.contributions
from priced
inner join documents
    on priced.document_id = documents.document_id
order by priced.document_id
