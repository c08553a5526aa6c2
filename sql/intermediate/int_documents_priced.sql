-- Price of each document over the whole pool, as natural logs: ln m_t + ln p_i, and per token.
-- grain:  one row per document_id
-- reads:  int_documents_held, int_topics_cleared, stg_pool__documents
-- params: $length_bias (exponent of the length), $rank_decimals (of the log price per token)
with

holdings as (

    select
        document_id,
        topic,
        shares
    from int_documents_held

),

topics as (

    select
        topic,
        liquidity,
        mass,
        top_shares,
        log_total_weight
    from int_topics_cleared

),

lengths as (

    select
        document_id,
        tokens,
        $length_bias * ln(tokens) as log_length_discount
    from stg_pool__documents

),

prices as (

    select
        holdings.document_id,
        holdings.topic,
        holdings.shares,
        topics.liquidity,
        ln(topics.mass)
        + (
            (holdings.shares - topics.top_shares) / topics.liquidity
            - topics.log_total_weight
        ) as log_price
    from holdings
    inner join topics
        on holdings.topic = topics.topic

),

discounted_prices as (

    select
        prices.document_id,
        prices.topic,
        lengths.tokens,
        prices.shares,
        prices.liquidity,
        prices.log_price,
        prices.log_price - lengths.log_length_discount as log_price_per_token
    from prices
    inner join lengths
        on prices.document_id = lengths.document_id

)

select
    document_id,
    topic,
    tokens,
    shares,
    liquidity,
    log_price,
    round(log_price_per_token, $rank_decimals) as log_price_per_token
from discounted_prices
