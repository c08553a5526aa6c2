-- Fails when a part that has characters has no token. Every row is a violation.
-- reads: contract_rows, documents
with

empty as (

    select
        part,
        document_id,
        prompt_characters
    from contract_rows
    where tokens = 0

),

registered as (

    select
        document_id,
        characters
    from documents

)

select
    empty.part || '/' || empty.document_id as part_of_document,
    registered.characters - empty.prompt_characters as characters
from empty
inner join registered
    on empty.document_id = registered.document_id
where registered.characters > empty.prompt_characters
