-- Documents of this run whose tokens are not counted yet.
-- grain:  one row per document_id
-- reads:  stg_run__arrivals, token_counts
-- params: $tokenizer_id
with

arrived as (

    select distinct document_id
    from stg_run__arrivals

),

counted as (

    select document_id
    from token_counts
    where tokenizer_id = $tokenizer_id

)

select arrived.document_id
from arrived
anti join counted
    on arrived.document_id = counted.document_id
order by arrived.document_id
