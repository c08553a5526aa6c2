-- Documents whose part a language model has not read yet, in key order.
-- grain:  one row per document_id
-- reads:  wanted_parts, token_losses
-- params: $losses_id, $part
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
    from token_losses
    where
        losses_id = $losses_id
        and part = $part

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
