-- Every candidate of this run with its price, and whether it was bought.
-- grain:  one row per document_id
-- reads:  mart_documents_ranked, selection_outcomes
-- params: $run_id
with

ranked as (

    select
        document_id,
        topic,
        tokens,
        shares,
        log_price,
        log_price_per_token,
        price_rank,
        contributions
    from mart_documents_ranked

),

outcomes as (

    select
        document_id,
        is_selected
    from selection_outcomes

)

select
    $run_id as run_id,
    ranked.document_id,
    ranked.topic,
    ranked.tokens,
    ranked.shares,
    ranked.log_price,
    ranked.log_price_per_token,
    ranked.price_rank,
    outcomes.is_selected,
    ranked.contributions
from ranked
inner join outcomes
    on ranked.document_id = outcomes.document_id
order by ranked.document_id
