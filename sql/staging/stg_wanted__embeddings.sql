-- Vectors of wanted documents under an encoder, in key order.
-- grain:  one row per document_id
-- reads:  wanted_documents, embeddings
-- params: $encoder_id
with

wanted as (

    select document_id
    from wanted_documents

),

vectors as (

    select
        document_id,
        vector
    from embeddings
    where encoder_id = $encoder_id

)

select
    vectors.document_id,
    vectors.vector
from wanted
inner join vectors
    on wanted.document_id = vectors.document_id
order by vectors.document_id
