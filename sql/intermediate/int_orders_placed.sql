-- Orders: trader k buys as many shares of a document as its z-score times what it stakes on one
-- spread. In whole units of 1e-12 shares: integers add up the same in any order.
-- grain: one row per document_number
-- reads: market_documents, int_topics_standardised, market_traders
with

standards as (

    select
        topics.centre_k, -- per trader
        topics.half_range_k, -- per trader
        topics.mean_k, -- per trader
        topics.spread_k, -- per trader
        traders.shares_k, -- per trader
        topics.topic_number
    from int_topics_standardised as topics
    inner join market_traders as traders
        on topics.topic_number = traders.topic_number

),

scaled_signals as (

    select
        documents.document_number,
        documents.topic_number,
        documents.log_prior,
        (documents.signal_k - standards.centre_k) / standards.half_range_k as x_k, -- per trader
        standards.mean_k, -- per trader
        standards.spread_k, -- per trader
        standards.shares_k, -- per trader
        documents.log_tokens
    from market_documents as documents
    inner join standards
        on documents.topic_number = standards.topic_number

),

orders as (

    select
        document_number,
        topic_number,
        log_prior,
        cast((x_k - mean_k) / spread_k * shares_k * 1e12 as bigint) as units_k, -- per trader
        log_tokens
    from scaled_signals

)

select
    document_number,
    topic_number,
    log_prior,
    log_tokens,
    units_k, -- per trader
    (
        0
        + units_k -- per trader
    ) / 1e12 as shares
from orders
