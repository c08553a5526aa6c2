-- Price of each document over the whole pool, as natural logs: ln m_t + ln p_i, and per token.
-- grain:  one row per document_number
-- reads:  int_documents_held, int_topics_cleared
-- params: $length_bias (exponent of the length), $rank_decimals (of the log price per token)
with

prices as (

    select
        held.document_number,
        held.shares,
        held.log_tokens,
        ln(topics.mass)
        + (
            (held.shares - topics.top_shares) / topics.liquidity
            + held.log_prior
            - topics.log_total_weight
        ) as log_price
    from int_documents_held as held
    inner join int_topics_cleared as topics
        on held.topic_number = topics.topic_number

)

select
    document_number,
    shares,
    log_price,
    round(log_price - $length_bias * log_tokens, $rank_decimals) as log_price_per_token
from prices
