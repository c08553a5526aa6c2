-- What each signal says about the documents of the snapshot: larger is more useful.
-- grain:  one row per document_id, trader
-- reads:  signals, signal_versions, snapshots
-- params: $snapshot_id, $signal_ids (list of signal_id)
with

candidates as (

    select document_id
    from snapshots
    where snapshot_id = $snapshot_id

),

traders as (

    select
        signal_id,
        signal as trader
    from signal_versions
    where signal_id in (select unnest($signal_ids))

),

-- '-' marks a signal that depends on the document alone.
signal_values as (

    select
        signal_id,
        document_id,
        value as signal_value
    from signals
    where snapshot_id in ($snapshot_id, '-')

)

select
    signal_values.document_id,
    traders.trader,
    signal_values.signal_value
from signal_values
inner join traders
    on signal_values.signal_id = traders.signal_id
inner join candidates
    on signal_values.document_id = candidates.document_id
