-- Books of each topic's maker: cost b ln sum prior exp(q / b), loss bound, ESS, entropy of prices.
-- A prior of 1 for all is the plain form, whose cost starts at b ln n and loses at most that.
-- grain:  one row per topic_number
-- reads:  int_documents_held, int_topics_peaked
with

log_weights as (

    select
        held.topic_number,
        (held.shares - topics.top_shares) / topics.liquidity
        + held.log_prior
        - topics.peak as log_weight
    from int_documents_held as held
    inner join int_topics_peaked as topics
        on held.topic_number = topics.topic_number

),

weights as (

    select
        topic_number,
        log_weight,
        exp(log_weight) as weight
    from log_weights

),

-- Weights are in [0, 1] and the largest is 1, so units of 2^-52 lose nothing.
-- A weight of 0 is the limit of x exp(-x): it adds nothing to the entropy.
sums as (

    select
        topic_number,
        sum(cast(weight * pow(2, 52) as bigint)) / pow(2, 52) as total_weight,
        sum(cast(weight * weight * pow(2, 52) as bigint)) / pow(2, 52) as total_square,
        sum(cast(if(weight > 0, -weight * log_weight, 0.0) * pow(2, 52) as bigint))
        / pow(2, 52) as total_surprise
    from weights
    group by topic_number

)

select
    topics.topic_number,
    topics.n_documents,
    topics.top_shares,
    topics.liquidity,
    topics.mass,
    ln(topics.mass) - topics.peak - ln(sums.total_weight) as log_price_of_one,
    topics.top_shares + topics.liquidity * (topics.peak + ln(sums.total_weight)) as cost,
    sums.total_weight * sums.total_weight / sums.total_square as effective_sample_size,
    ln(sums.total_weight) + sums.total_surprise / sums.total_weight as entropy,
    topics.least_log_prior
from int_topics_peaked as topics
inner join sums
    on topics.topic_number = sums.topic_number
