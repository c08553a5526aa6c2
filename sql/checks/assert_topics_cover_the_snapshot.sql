-- Fails when a document of the snapshot has no topic, or a topic's document is not in the snapshot.
-- reads:  contract_rows, snapshots
-- params: $snapshot_id
with

snapshot as (

    select
        snapshot_id,
        document_id
    from snapshots
    where snapshot_id = $snapshot_id

),

checked as (

    select
        snapshot_id,
        document_id
    from contract_rows

)

select
    coalesce(snapshot.document_id, checked.document_id) as document_id,
    case
        when checked.document_id is null then 'has no topic'
        else 'is not in the snapshot'
    end as problem
from snapshot
full outer join checked
    on
        snapshot.snapshot_id = checked.snapshot_id
        and snapshot.document_id = checked.document_id
where
    snapshot.document_id is null
    or checked.document_id is null
