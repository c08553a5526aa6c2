-- Topics of a snapshot's documents, in key order.
-- grain:  one row per document_id
-- reads:  topics
-- params: $topics_id
select
    document_id,
    topic,
    similarity
from topics
where topics_id = $topics_id
order by document_id
