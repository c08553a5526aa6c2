-- Documents ever seen whose id starts with a prefix, in key order; a few, to tell one from many.
-- grain:  one row per document_id
-- reads:  documents
-- params: $prefix (hex digits), $most_rows (>= 1)
select document_id
from documents
where starts_with(document_id, $prefix)
order by document_id
limit $most_rows
