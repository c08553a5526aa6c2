-- Documents of a batch that the warehouse has never seen.
-- grain:  one row per document_id
-- reads:  batch_documents, documents
-- params: none
with

batch as (

    select document_id
    from batch_documents

),

known as (

    select document_id
    from documents

)

select batch.document_id
from batch
anti join known
    on batch.document_id = known.document_id
order by batch.document_id
