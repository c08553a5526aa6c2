-- Documents of a snapshot that have no vector under an encoder yet, in key order.
-- grain:  one row per document_id
-- reads:  snapshots, embeddings
-- params: $snapshot_id, $encoder_id
with

snapshot as (

    select document_id
    from snapshots
    where snapshot_id = $snapshot_id

),

embedded as (

    select document_id
    from embeddings
    where encoder_id = $encoder_id

)

select snapshot.document_id
from snapshot
anti join embedded
    on snapshot.document_id = embedded.document_id
order by snapshot.document_id
