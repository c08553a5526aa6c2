-- What a language model said of a part of documents, in key order.
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

losses as (

    select
        document_id,
        prompt_characters,
        tokens,
        loss_sum,
        entropy_sum
    from token_losses
    where
        losses_id = $losses_id
        and part = $part

)

select
    wanted.document_id,
    losses.tokens,
    losses.loss_sum,
    losses.entropy_sum
from wanted
inner join losses
    on
        wanted.document_id = losses.document_id
        and wanted.prompt_characters = losses.prompt_characters
order by wanted.document_id
