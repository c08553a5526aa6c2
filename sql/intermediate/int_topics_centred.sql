-- Mean of each scaled signal in its topic; a sum of integers, the same bits in any order.
-- grain: one row per topic_number
-- reads: market_documents, int_topics_scaled
with

scaled_signals as (

    select
        documents.topic_number,
        (documents.signal_k - topics.centre_k) * topics.scale_k as x_k, -- per trader
        topics.n_documents
    from market_documents as documents
    inner join int_topics_scaled as topics
        on documents.topic_number = topics.topic_number

),

-- |x| <= 1 in units of 2^-52: a double holds no finer, and the sum is of 128 bits.
sums as (

    select
        topic_number,
        sum(cast(x_k * pow(2, 52) as bigint)) as sum_k, -- per trader
        max(n_documents) as n_documents
    from scaled_signals
    group by topic_number

)

select
    sum_k / pow(2, 52) / n_documents as mean_k, -- per trader
    topic_number
from sums
