-- Nearest neighbours of a snapshot's documents, in key order.
-- grain:  one row per document_id
-- reads:  neighbours
-- params: $neighbours_id
select
    document_id,
    positions,
    similarities
from neighbours
where neighbours_id = $neighbours_id
order by document_id
