-- Documents of a snapshot that a signal has not scored yet, in key order.
-- grain:  one row per document_id
-- reads:  snapshots, signals
-- params: $snapshot_id, $signal_id, $stored_under (the snapshot, or '-' if document-scoped)
with

snapshot as (

    select document_id
    from snapshots
    where snapshot_id = $snapshot_id

),

scored as (

    select document_id
    from signals
    where
        signal_id = $signal_id
        and snapshot_id = $stored_under

)

select snapshot.document_id
from snapshot
anti join scored
    on snapshot.document_id = scored.document_id
order by snapshot.document_id
