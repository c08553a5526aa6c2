-- A document as a run works with it: which row speaks for it, and its length.
-- grain:  one row per document_id
-- reads:  pool_documents
-- params: $run_id, $document_id
select
    document_id,
    source,
    locator,
    label,
    prompt_characters,
    metadata,
    tokens
from pool_documents
where
    run_id = $run_id
    and document_id = $document_id
