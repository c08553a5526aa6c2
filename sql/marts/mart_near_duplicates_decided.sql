-- Documents that another one stands for, since their shingles nearly agree.
-- grain:  one row per source, locator
-- reads:  near_duplicates, pool_documents
-- params: $run_id
with

duplicates as (

    select
        document_id,
        representative_id,
        similarity
    from near_duplicates

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
    'near_dedup' as stage,
    'dropped' as outcome,
    'near_duplicate' as reason,
    duplicates.representative_id,
    duplicates.similarity as value
from documents
inner join duplicates
    on documents.document_id = duplicates.document_id
