-- Documents that a document stands for in a run, the most similar first, and how many there are.
-- grain:  one row per document_id
-- reads:  decisions
-- params: $run_id, $document_id, $most_rows (>= 1)
select
    document_id,
    max(value) as similarity,
    count(*) over () as n_documents
from decisions
where
    run_id = $run_id
    and representative_id = $document_id
    and document_id != $document_id
group by document_id
order by similarity desc, document_id asc
limit $most_rows
