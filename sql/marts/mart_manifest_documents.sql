-- Rows of the manifest: what was bought in this run, in key order.
-- grain:  one row per document_id
-- reads:  prices, pool_documents
-- params: $run_id
with

bought as (

    select
        document_id,
        topic,
        log_price,
        log_price_per_token,
        price_rank,
        weight,
        inclusion_probability,
        contributions
    from prices
    where
        run_id = $run_id
        and is_selected

),

documents as (

    select
        document_id,
        source,
        locator,
        label,
        prompt_characters,
        tokens
    from pool_documents
    where run_id = $run_id

)

select
    documents.document_id,
    documents.source,
    documents.locator,
    documents.label,
    documents.prompt_characters,
    documents.tokens,
    bought.topic,
    bought.log_price,
    bought.log_price_per_token,
    bought.price_rank,
    bought.weight,
    bought.inclusion_probability,
    bought.contributions
from documents
inner join bought
    on documents.document_id = bought.document_id
order by documents.document_id
