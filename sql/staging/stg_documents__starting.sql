-- Documents ever seen whose id starts with a prefix, in key order; a few, to tell one from many.
-- grain:  one row per document_id
-- reads:  documents
-- params: $prefix (hex digits), $most_rows (>= 1)
select
    document_id,
    characters,
    text_shard
from documents
where
    document_id >= $prefix
    and starts_with(document_id, $prefix)
order by document_id
limit $most_rows
