-- Documents of a snapshot with what this run says of them, in key order.
-- grain:  one row per document_id
-- reads:  snapshots, pool_documents
-- params: $run_id, $snapshot_id
with

snapshot as (

    select document_id
    from snapshots
    where snapshot_id = $snapshot_id

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
    documents.tokens
from snapshot
inner join documents
    on snapshot.document_id = documents.document_id
order by documents.document_id
