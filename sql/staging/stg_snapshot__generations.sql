-- What a language model wrote after the prompts of documents, in key order.
-- grain:  one row per document_id
-- reads:  wanted_parts, generations
-- params: $generations_id
with

wanted as (

    select
        document_id,
        prompt_characters
    from wanted_parts

),

written as (

    select
        document_id,
        prompt_characters,
        log_likelihoods,
        meanings
    from generations
    where generations_id = $generations_id

)

select
    wanted.document_id,
    written.log_likelihoods,
    written.meanings
from wanted
inner join written
    on
        wanted.document_id = written.document_id
        and wanted.prompt_characters = written.prompt_characters
order by wanted.document_id
