-- Documents that another one stands for, since it says the same in other words.
-- grain:  one row per source, locator
-- reads:  semantic_duplicates, pool_documents
-- params: $run_id
with

duplicates as (

    select
        document_id,
        representative_id,
        similarity
    from semantic_duplicates

),

documents as (

    select
        document_id,
        source,
        locator
    from pool_documents
    where run_id = $run_id

)

select
    $run_id as run_id,
    documents.locator,
    documents.source,
    documents.document_id,
    'semantic_dedup' as stage,
    'dropped' as outcome,
    'semantic_duplicate' as reason,
    duplicates.representative_id,
    duplicates.similarity as value
from documents
inner join duplicates
    on documents.document_id = duplicates.document_id
