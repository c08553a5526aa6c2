-- Influence of wanted documents as far as it was measured, in key order.
-- grain:  one row per document_id
-- reads:  wanted_documents, influences
-- params: $influence_id
with

wanted as (

    select document_id
    from wanted_documents

),

measured as (

    select
        document_id,
        influence
    from influences
    where influence_id = $influence_id

)

select
    measured.document_id,
    measured.influence
from wanted
inner join measured
    on wanted.document_id = measured.document_id
order by measured.document_id
