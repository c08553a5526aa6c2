-- Population standard deviation of each scaled signal in its topic; a sum of integers again.
-- Deviations are taken from the mean in the signal's own unit, which costs two columns per trader
-- instead of three. That mean is rounded; its error adds its square to the variance, far below it.
-- grain: one row per topic_number
-- reads: market_documents, int_topics_scaled, int_topics_centred
with

-- Halves first, as the difference of two doubles can overflow. |d| <= 2 in units of 2^-25.
scales as (

    select
        scaled.topic_number,
        0.5 * (scaled.centre_k + scaled.half_range_k * centred.mean_k) as middle_k, -- per trader
        pow(2, 26) * scaled.scale_k as unit_k, -- per trader
        scaled.n_documents
    from int_topics_scaled as scaled
    inner join int_topics_centred as centred
        on scaled.topic_number = centred.topic_number

),

deviations as (

    select
        documents.topic_number,
        (0.5 * documents.signal_k - scales.middle_k) * scales.unit_k as d_k, -- per trader
        scales.n_documents
    from market_documents as documents
    inner join scales
        on documents.topic_number = scales.topic_number

),

sums as (

    select
        topic_number,
        sum(cast(d_k * d_k as bigint)) as sum_k, -- per trader
        max(n_documents) as n_documents
    from deviations
    group by topic_number

)

select
    sqrt(sum_k / pow(2, 50) / n_documents) as spread_k, -- per trader
    topic_number
from sums
