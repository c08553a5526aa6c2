-- Every candidate of this run with its price, what each trader adds to it, and whether it was
-- bought.
-- grain:  one row per document_id
-- reads:  selection_outcomes, int_documents_priced, int_orders_placed, int_topics_cleared
-- params: $run_id, $traders (list of names in order)
with

outcomes as (

    select
        document_number,
        document_id,
        topic,
        tokens,
        price_rank,
        is_selected,
        weight,
        inclusion_probability
    from selection_outcomes

),

contributions as (

    select
        orders.document_number,
        map(
            $traders, -- noqa: RF02
            [
                orders.units_k / 1e12 / topics.liquidity, -- per trader
            ]
        ) as contributions
    from int_orders_placed as orders
    inner join int_topics_cleared as topics
        on orders.topic_number = topics.topic_number

)

select
    $run_id as run_id,
    outcomes.document_id,
    outcomes.topic,
    outcomes.tokens,
    prices.shares,
    prices.log_price,
    prices.log_price_per_token,
    outcomes.price_rank,
    outcomes.is_selected,
    outcomes.weight,
    outcomes.inclusion_probability,
    contributions.contributions
from outcomes
inner join int_documents_priced as prices
    on outcomes.document_number = prices.document_number
inner join contributions
    on outcomes.document_number = contributions.document_number
order by outcomes.document_id
