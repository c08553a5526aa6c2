-- Labels of the documents of a snapshot and what was kept beside their texts, in key order.
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
        label,
        metadata
    from pool_documents
    where run_id = $run_id

)

select
    documents.document_id,
    documents.label,
    documents.metadata::varchar as metadata
from snapshot
inner join documents
    on snapshot.document_id = documents.document_id
order by documents.document_id
