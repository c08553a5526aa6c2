-- Documents about which a model has not answered yet, in key order.
-- grain:  one row per document_id
-- reads:  wanted_documents, answers
-- params: $scorer_id
with

wanted as (

    select document_id
    from wanted_documents

),

answered as (

    select document_id
    from answers
    where
        scorer_id = $scorer_id
        and failure is null

)

select wanted.document_id
from wanted
anti join answered
    on wanted.document_id = answered.document_id
order by wanted.document_id
