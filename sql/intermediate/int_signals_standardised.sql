-- Signals as z-scores within the topic: mean 0, population sd 1; 0 where the signal is constant.
-- Sums are of fixed-point numbers in [-1, 1] or [0, 4]: the same bits whatever the threads.
-- grain:  one row per document_id, trader
-- reads:  stg_pool__documents, stg_signals__values
-- params: $relative_noise (half range / largest magnitude, at most which a signal is constant)
with

documents as (

    select
        document_id,
        topic
    from stg_pool__documents

),

signal_values as (

    select
        document_id,
        trader,
        signal_value
    from stg_signals__values

),

values_by_topic as (

    select
        signal_values.document_id,
        documents.topic,
        signal_values.trader,
        signal_values.signal_value
    from signal_values
    inner join documents
        on signal_values.document_id = documents.document_id

),

-- Halves first: the difference of two doubles can overflow, that of their halves cannot.
ranges as (

    select
        topic,
        trader,
        count(*) as n_documents,
        0.5 * min(signal_value) + 0.5 * max(signal_value) as centre,
        0.5 * max(signal_value) - 0.5 * min(signal_value) as half_range,
        $relative_noise * greatest(abs(min(signal_value)), abs(max(signal_value))) as noise
    from values_by_topic
    group by
        topic,
        trader

),

scaled_values as (

    select
        values_by_topic.document_id,
        values_by_topic.topic,
        values_by_topic.trader,
        ranges.n_documents,
        case
            when ranges.half_range > ranges.noise
                then (values_by_topic.signal_value - ranges.centre) / ranges.half_range
            else 0.0
        end as scaled_value
    from values_by_topic
    inner join ranges
        on
            values_by_topic.topic = ranges.topic
            and values_by_topic.trader = ranges.trader

),

means as (

    select
        topic,
        trader,
        cast(sum(cast(scaled_value as decimal(38, 18))) as double) / max(n_documents) as mean_value
    from scaled_values
    group by
        topic,
        trader

),

deviations as (

    select
        scaled_values.document_id,
        scaled_values.topic,
        scaled_values.trader,
        scaled_values.n_documents,
        scaled_values.scaled_value - means.mean_value as deviation
    from scaled_values
    inner join means
        on
            scaled_values.topic = means.topic
            and scaled_values.trader = means.trader

),

spreads as (

    select
        topic,
        trader,
        sqrt(
            cast(sum(cast(deviation * deviation as decimal(38, 18))) as double)
            / max(n_documents)
        ) as spread
    from deviations
    group by
        topic,
        trader

)

select
    deviations.document_id,
    deviations.trader,
    case
        when spreads.spread > 0 then deviations.deviation / spreads.spread
        else 0.0
    end as standardised_value
from deviations
inner join spreads
    on
        deviations.topic = spreads.topic
        and deviations.trader = spreads.trader
