-- Which text shard holds each wanted document.
-- grain:  one row per document_id
-- reads:  documents, text_shards, wanted_documents
-- params: none
with

wanted as (

    select document_id
    from wanted_documents

)

select
    documents.document_id,
    text_shards.text_shard,
    text_shards.sha256
from documents
inner join wanted
    on documents.document_id = wanted.document_id
inner join text_shards
    on documents.text_shard = text_shards.text_shard
