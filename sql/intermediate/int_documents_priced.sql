-- Price of each document over the whole pool, as natural logs: ln m_t + ln p_i, and per token.
-- grain:  one row per document_number
-- reads:  int_documents_held, int_topics_cleared
-- params: $length_bias (exponent of the length)
with

prices as (

    select
        held.document_number,
        held.shares,
        held.log_tokens,
        (held.shares - topics.top_shares) / topics.liquidity
        + held.log_prior
        + topics.log_price_of_one as log_price
    from int_documents_held as held
    inner join int_topics_cleared as topics
        on held.topic_number = topics.topic_number

),

prices_per_token as (

    select
        document_number,
        shares,
        log_price,
        log_price - $length_bias * log_tokens as log_price_per_token
    from prices

)

-- Rounded, so that rounding cannot break a tie; what is beyond 1e290 has no decimals to round.
select
    document_number,
    shares,
    log_price,
    if(
        abs(log_price_per_token) < 1e290,
        round(log_price_per_token * 1e12) / 1e12,
        log_price_per_token
    ) as log_price_per_token
from prices_per_token
