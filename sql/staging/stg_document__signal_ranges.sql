-- Lowest and highest value of each signal of a market in a document's topic.
-- grain:  one row per signal_id
-- reads:  topics, signals
-- params: $topics_id, $topic, $snapshot_id, $signal_ids (list of signal_id)
with

companions as (

    select document_id
    from topics
    where
        topics_id = $topics_id
        and topic = $topic

),

-- '-' marks a signal that depends on the document alone.
signal_values as (

    select
        signal_id,
        document_id,
        value as signal_value
    from signals
    where
        snapshot_id in ($snapshot_id, '-')
        and signal_id in (select unnest($signal_ids))

)

select
    signal_values.signal_id,
    min(signal_values.signal_value) as lowest,
    max(signal_values.signal_value) as highest
from signal_values
inner join companions
    on signal_values.document_id = companions.document_id
group by signal_values.signal_id
