-- Candidates of a run by the label that their source gives them; '' where it gives none.
-- grain:  one row per label
-- reads:  prices, pool_documents
-- params: $run_id
with

candidates as (

    select document_id
    from prices
    where run_id = $run_id

),

documents as (

    select
        document_id,
        coalesce(label, '') as label
    from pool_documents
    where run_id = $run_id

)

select
    documents.label,
    count(*) as candidates
from candidates
inner join documents
    on candidates.document_id = documents.document_id
group by documents.label
order by documents.label
