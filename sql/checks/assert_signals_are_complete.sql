-- Fails when a signal has no value for a document of the snapshot. Every row is a violation.
-- reads:  contract_rows, snapshots
-- params: $snapshot_id, $signal_ids (list of signal ids)
with

asked as (

    select signal_id
    from unnest(cast($signal_ids as varchar[])) as asked_ids (signal_id)

),

snapshot as (

    select document_id
    from snapshots
    where snapshot_id = $snapshot_id

),

checked as (

    select
        signal_id,
        document_id
    from contract_rows

)

select asked.signal_id || '/' || snapshot.document_id as signal_of_document
from asked
cross join snapshot
anti join checked
    on
        asked.signal_id = checked.signal_id
        and snapshot.document_id = checked.document_id
