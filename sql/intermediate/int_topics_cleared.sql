-- Books of each topic's maker: cost b ln sum exp(q / b), loss bound b ln n, ESS, entropy of prices.
-- Weights exp((q - max q) / b) are in [0, 1] and the largest is 1, so fixed point loses nothing.
-- grain:  one row per topic
-- reads:  int_documents_held, int_topics_sized, stg_market__topics
with

holdings as (

    select
        topic,
        shares
    from int_documents_held

),

sizes as (

    select
        topic,
        n_documents,
        top_shares
    from int_topics_sized

),

makers as (

    select
        topic,
        liquidity,
        mass
    from stg_market__topics

),

topics as (

    select
        sizes.topic,
        sizes.n_documents,
        sizes.top_shares,
        makers.liquidity,
        makers.mass
    from sizes
    inner join makers
        on sizes.topic = makers.topic

),

log_weights as (

    select
        holdings.topic,
        (holdings.shares - topics.top_shares) / topics.liquidity as log_weight
    from holdings
    inner join topics
        on holdings.topic = topics.topic

),

weights as (

    select
        topic,
        log_weight,
        exp(log_weight) as weight
    from log_weights

),

-- A weight of 0 is the limit of x exp(-x): it adds nothing to the entropy.
weight_sums as (

    select
        topic,
        cast(sum(cast(weight as decimal(38, 18))) as double) as total_weight,
        cast(sum(cast(weight * weight as decimal(38, 18))) as double) as total_square,
        cast(
            sum(
                cast(
                    case when weight > 0 then -weight * log_weight else 0.0 end
                    as decimal(38, 18)
                )
            )
            as double
        ) as total_surprise
    from weights
    group by topic

)

select
    topics.topic,
    topics.n_documents,
    topics.top_shares,
    topics.liquidity,
    topics.mass,
    ln(weight_sums.total_weight) as log_total_weight,
    topics.top_shares + topics.liquidity * ln(weight_sums.total_weight) as cost,
    topics.liquidity * ln(topics.n_documents) as worst_case_loss,
    weight_sums.total_weight * weight_sums.total_weight
    / weight_sums.total_square as effective_sample_size,
    ln(weight_sums.total_weight)
    + weight_sums.total_surprise / weight_sums.total_weight as entropy
from topics
inner join weight_sums
    on topics.topic = weight_sums.topic
order by topics.topic asc
