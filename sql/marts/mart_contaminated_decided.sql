-- Documents that repeat text of an evaluation set or a target.
-- grain:  one row per source, locator
-- reads:  contaminated, pool_documents
-- params: $run_id
with

repeats as (

    select
        document_id,
        set,
        example_id,
        reason,
        overlap
    from contaminated

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
    'decontaminate' as stage,
    'dropped' as outcome,
    repeats.reason,
    repeats.set || ':' || repeats.example_id as representative_id,
    repeats.overlap as value
from documents
inner join repeats
    on documents.document_id = repeats.document_id
