-- Utilities of wanted documents as far as an oracle has spoken, in key order.
-- grain:  one row per document_id
-- reads:  wanted_documents, utilities
-- params: $oracle_id
with

wanted as (

    select document_id
    from wanted_documents

),

spoken as (

    select
        document_id,
        utility
    from utilities
    where oracle_id = $oracle_id

)

select
    spoken.document_id,
    spoken.utility
from wanted
inner join spoken
    on wanted.document_id = spoken.document_id
order by spoken.document_id
