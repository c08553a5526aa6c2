-- Fails when a prompt is longer than the document that it begins. Every row is a violation.
-- reads: contract_rows, documents
with

checked as (

    select
        document_id,
        prompt_characters
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
    checked.prompt_characters,
    registered.characters
from checked
inner join registered
    on checked.document_id = registered.document_id
where checked.prompt_characters > registered.characters
