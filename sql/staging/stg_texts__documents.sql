-- Texts of the wanted documents, in key order.
-- grain:  one row per document_id
-- reads:  wanted_documents
-- params: $paths (Parquet text shards that hold them)
with

wanted as (

    select document_id
    from wanted_documents

),

texts as (

    select
        document_id,
        text
    from read_parquet($paths)

)

select
    texts.document_id,
    texts.text
from texts
inner join wanted
    on texts.document_id = wanted.document_id
order by texts.document_id
