-- What each signal of a market says about a document, beside what it says about its topic.
-- grain:  one row per signal_id
-- reads:  signal_versions, signals, topic_traders
-- params: $run_id, $snapshot_id, $document_id, $topic, $signal_ids (list of signal_id)
with

versions as (

    select
        signal_id,
        signal,
        scope,
        orientation
    from signal_versions
    where signal_id in (select unnest($signal_ids))

),

-- '-' marks a signal that depends on the document alone.
document_values as (

    select
        signal_id,
        value as signal_value
    from signals
    where
        document_id = $document_id
        and snapshot_id in ($snapshot_id, '-')
        and signal_id in (select unnest($signal_ids))

),

traders as (

    select
        trader,
        mean,
        spread,
        shares_per_spread
    from topic_traders
    where
        run_id = $run_id
        and topic = $topic

)

select
    versions.signal_id,
    versions.signal,
    versions.scope,
    versions.orientation,
    document_values.signal_value,
    traders.mean,
    traders.spread,
    traders.shares_per_spread
from versions
left join document_values
    on versions.signal_id = document_values.signal_id
left join traders
    on versions.signal = traders.trader
order by versions.signal, versions.signal_id
