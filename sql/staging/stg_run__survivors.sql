-- Documents of this run that no decision has dropped, in key order.
-- grain:  one row per document_id
-- reads:  pool_documents, decisions
-- params: $run_id
with

documents as (

    select
        document_id,
        source,
        locator
    from pool_documents
    where run_id = $run_id

),

decided as (

    select
        source,
        locator
    from decisions
    where run_id = $run_id

)

select documents.document_id
from documents
anti join decided
    on
        documents.source = decided.source
        and documents.locator = decided.locator
order by documents.document_id
