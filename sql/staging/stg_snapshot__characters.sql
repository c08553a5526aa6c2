-- Documents of a snapshot with the lengths of their texts, in key order.
-- grain:  one row per document_id
-- reads:  snapshots, documents
-- params: $snapshot_id
with

snapshot as (

    select document_id
    from snapshots
    where snapshot_id = $snapshot_id

),

measured as (

    select
        document_id,
        characters
    from documents

)

select
    measured.document_id,
    measured.characters
from snapshot
inner join measured
    on snapshot.document_id = measured.document_id
order by measured.document_id
