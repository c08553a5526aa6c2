-- Why a model has not answered about documents, the latest run last.
-- grain:  one row per run_id, document_id
-- reads:  answers
-- params: $scorer_id, $document_ids (list)
select
    run_id,
    document_id,
    failure
from answers
where
    scorer_id = $scorer_id
    and failure is not null
    and list_contains(cast($document_ids as varchar[]), document_id)
order by run_id, document_id
