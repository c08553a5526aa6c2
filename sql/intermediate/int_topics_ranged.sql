-- Range of each signal within each topic.
-- grain: one row per topic_number
-- reads: market_documents
select
    topic_number,
    min(signal_k) as low_k, -- per trader
    max(signal_k) as high_k, -- per trader
    count(*) as n_documents
from market_documents
group by topic_number
