-- Fails when a document of the run is unknown to the table documents, or has no character.
-- reads: contract_rows, documents
with

checked as (

    select document_id
    from contract_rows

),

registered as (

    select
        document_id,
        characters
    from documents

)

select
    checked.document_id,
    registered.characters
from checked
left join registered
    on checked.document_id = registered.document_id
where
    registered.characters is null
    or registered.characters < 1
