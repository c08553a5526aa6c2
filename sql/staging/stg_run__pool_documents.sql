-- Distinct documents of this run, in key order.
-- grain:  one row per document_id
-- reads:  pool_documents
-- params: $run_id
select
    document_id,
    source,
    tokens
from pool_documents
where run_id = $run_id
order by document_id
