-- Text shards that hold any of the wanted documents.
-- grain:  one row per text_shard
-- reads:  documents, text_shards, wanted_documents
-- params: none
with

wanted as (

    select document_id
    from wanted_documents

),

needed_shards as (

    select distinct documents.text_shard
    from documents
    inner join wanted
        on documents.document_id = wanted.document_id

)

select
    text_shards.text_shard,
    text_shards.sha256
from text_shards
inner join needed_shards
    on text_shards.text_shard = needed_shards.text_shard
order by text_shards.text_shard
