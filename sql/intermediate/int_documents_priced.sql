-- Price of each document over the whole pool, as natural logs: ln m_t + ln p_i, and per token.
-- grain:  one row per document_number
-- reads:  int_orders_placed, int_topics_cleared
-- params: $length_bias (exponent of the length), $rank_decimals (of the log price per token)
with

prices as (

    select
        orders.document_number,
        orders.shares,
        orders.log_tokens,
        ln(topics.mass)
        + (
            (orders.shares - topics.top_shares) / topics.liquidity
            + orders.log_prior
            - topics.log_total_weight
        ) as log_price
    from int_orders_placed as orders
    inner join int_topics_cleared as topics
        on orders.topic_number = topics.topic_number

)

select
    document_number,
    shares,
    log_price,
    round(log_price - $length_bias * log_tokens, $rank_decimals) as log_price_per_token
from prices
