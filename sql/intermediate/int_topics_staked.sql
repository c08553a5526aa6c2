-- What each trader orders in a topic: of a document at x on the scaled signal, x gain - shift, in
-- whole units of 1e-12 shares. That is the z-score (x - mean) / spread times the shares per spread.
-- grain: one row per topic_number
-- reads: int_topics_standardised, market_traders
with

gains as (

    select
        topics.centre_k, -- per trader
        topics.half_range_k, -- per trader
        topics.mean_k, -- per trader
        traders.shares_k * 1e12 / topics.spread_k as gain_k, -- per trader
        topics.topic_number
    from int_topics_standardised as topics
    inner join market_traders as traders
        on topics.topic_number = traders.topic_number

)

select
    centre_k, -- per trader
    half_range_k, -- per trader
    gain_k, -- per trader
    mean_k * gain_k as shift_k, -- per trader
    topic_number
from gains
