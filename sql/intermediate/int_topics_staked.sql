-- What each trader orders in a topic: (signal / 2 - middle) gain - shift, in units of 1e-12 shares.
-- That is the z-score times the shares per spread. Halves, as differences of doubles can overflow.
-- grain: one row per topic_number
-- reads: int_topics_standardised, market_traders
with

traders_by_topic as (

    select
        0.5 * topics.centre_k as middle_k, -- per trader
        topics.mean_k, -- per trader
        topics.scale_k, -- per trader
        topics.spread_k, -- per trader
        traders.shares_k * 1e12 as shares_k, -- per trader
        topics.topic_number
    from int_topics_standardised as topics
    inner join market_traders as traders
        on topics.topic_number = traders.topic_number

),

stakes as (

    select
        middle_k, -- per trader
        mean_k, -- per trader
        scale_k, -- per trader
        if(spread_k > 0, shares_k / spread_k, 0.0) as stake_k, -- per trader
        topic_number
    from traders_by_topic

)

select
    middle_k, -- per trader
    2.0 * scale_k * stake_k as gain_k, -- per trader
    mean_k * stake_k as shift_k, -- per trader
    topic_number
from stakes
