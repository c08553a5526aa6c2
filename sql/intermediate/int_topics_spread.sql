-- Population standard deviation of each scaled signal in its topic; a sum of integers again.
-- grain: one row per topic_number
-- reads: market_documents, int_topics_scaled, int_topics_centred
with

scales as (

    select
        scaled.topic_number,
        scaled.centre_k, -- per trader
        scaled.half_range_k, -- per trader
        centred.mean_k, -- per trader
        scaled.n_documents
    from int_topics_scaled as scaled
    inner join int_topics_centred as centred
        on scaled.topic_number = centred.topic_number

),

scaled_signals as (

    select
        documents.topic_number,
        (documents.signal_k - scales.centre_k) / scales.half_range_k as x_k, -- per trader
        scales.mean_k, -- per trader
        scales.n_documents
    from market_documents as documents
    inner join scales
        on documents.topic_number = scales.topic_number

),

deviations as (

    select
        topic_number,
        x_k - mean_k as d_k, -- per trader
        n_documents
    from scaled_signals

),

-- d^2 <= 4 in units of 2^-50.
sums as (

    select
        topic_number,
        sum(cast(d_k * d_k * pow(2, 50) as bigint)) as sum_k, -- per trader
        max(n_documents) as n_documents
    from deviations
    group by topic_number

)

select
    sqrt(sum_k / pow(2, 50) / n_documents) as spread_k, -- per trader
    topic_number
from sums
