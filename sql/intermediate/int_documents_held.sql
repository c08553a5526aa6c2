-- Shares of each document that traders hold after all orders: q.
-- Orders are in whole units of 1e-12 shares: integers add up the same in any order.
-- grain: one row per document_number
-- reads: market_documents, int_topics_staked
with

orders as (

    select
        documents.document_number,
        documents.topic_number,
        documents.log_prior,
        (0.5 * documents.signal_k - topics.middle_k) * topics.gain_k as order_k, -- per trader
        topics.shift_k, -- per trader
        documents.log_tokens
    from market_documents as documents
    inner join int_topics_staked as topics
        on documents.topic_number = topics.topic_number

)

select
    document_number,
    topic_number,
    log_prior,
    log_tokens,
    (
        0
        + cast(order_k - shift_k as bigint) -- per trader
    ) / 1e12 as shares
from orders
