-- The largest log weight of each topic, q / b + ln prior: exponentials are taken below it.
-- grain: one row per topic_number
-- reads: int_documents_held, int_topics_sized, market_makers
with

topics as (

    select
        sizes.topic_number,
        sizes.n_documents,
        sizes.top_shares,
        makers.liquidity,
        makers.mass
    from int_topics_sized as sizes
    inner join market_makers as makers
        on sizes.topic_number = makers.topic_number

),

log_weights as (

    select
        held.topic_number,
        held.log_prior,
        (held.shares - topics.top_shares) / topics.liquidity + held.log_prior as log_weight
    from int_documents_held as held
    inner join topics
        on held.topic_number = topics.topic_number

),

peaks as (

    select
        topic_number,
        max(log_weight) as peak,
        min(log_prior) as least_log_prior
    from log_weights
    group by topic_number

)

select
    topics.topic_number,
    topics.n_documents,
    topics.top_shares,
    topics.liquidity,
    topics.mass,
    peaks.peak,
    peaks.least_log_prior
from topics
inner join peaks
    on topics.topic_number = peaks.topic_number
