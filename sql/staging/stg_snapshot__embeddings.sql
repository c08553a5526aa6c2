-- Vectors of a snapshot's documents under an encoder, in key order.
-- grain:  one row per document_id
-- reads:  snapshots, embeddings
-- params: $snapshot_id, $encoder_id
with

snapshot as (

    select document_id
    from snapshots
    where snapshot_id = $snapshot_id

),

vectors as (

    select
        document_id,
        vector
    from embeddings
    where encoder_id = $encoder_id

)

select
    vectors.document_id,
    vectors.vector
from snapshot
inner join vectors
    on snapshot.document_id = vectors.document_id
order by vectors.document_id
