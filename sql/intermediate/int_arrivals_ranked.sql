-- Arrivals of this run in the order in which they may speak for their document: 1 survives.
-- The rule knows nothing of file order: earlier source, then labelled ones, then by content.
-- grain:  one row per source, locator
-- reads:  stg_run__arrivals, token_counts
-- params: $tokenizer_id
with

arrived as (

    select
        document_id,
        source,
        source_rank,
        locator,
        label,
        prompt_characters,
        metadata
    from stg_run__arrivals

),

counted as (

    select
        document_id,
        tokens
    from token_counts
    where tokenizer_id = $tokenizer_id

)

select
    arrived.document_id,
    arrived.source,
    arrived.locator,
    arrived.label,
    arrived.prompt_characters,
    arrived.metadata,
    counted.tokens,
    row_number() over (
        partition by arrived.document_id
        order by
            arrived.source_rank asc,
            arrived.label asc nulls last,
            arrived.metadata asc nulls last,
            arrived.prompt_characters asc nulls last,
            arrived.locator asc
        rows between unbounded preceding and current row
    ) as arrival_rank
from arrived
inner join counted
    on arrived.document_id = counted.document_id
