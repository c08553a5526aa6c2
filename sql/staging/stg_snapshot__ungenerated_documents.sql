-- Documents after whose prompt a language model has not written yet, in key order.
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

done as (

    select
        document_id,
        prompt_characters
    from generations
    where generations_id = $generations_id

)

select
    wanted.document_id,
    wanted.prompt_characters
from wanted
anti join done
    on
        wanted.document_id = done.document_id
        and wanted.prompt_characters = done.prompt_characters
order by wanted.document_id
