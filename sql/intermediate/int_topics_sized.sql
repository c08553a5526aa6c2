-- The largest holding of each topic, from which its prices are measured.
-- grain: one row per topic_number
-- reads: int_documents_held
select
    topic_number,
    count(*) as n_documents,
    max(shares) as top_shares
from int_documents_held
group by topic_number
