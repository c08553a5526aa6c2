-- Fails when a document of the snapshot has no vector. Every row is a violation.
-- reads:  contract_rows, snapshots
-- params: $snapshot_id
with

snapshot as (

    select document_id
    from snapshots
    where snapshot_id = $snapshot_id

),

checked as (

    select document_id
    from contract_rows

)

select snapshot.document_id
from snapshot
anti join checked
    on snapshot.document_id = checked.document_id
