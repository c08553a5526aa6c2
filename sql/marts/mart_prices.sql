-- Every candidate of this run with its price, what each trader adds to it, and whether it was
-- bought.
-- grain:  one row per document_id
-- reads:  selection_outcomes, int_documents_priced, market_documents, int_topics_staked,
--         int_topics_cleared
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

stakes as (

    select
        staked.middle_k, -- per trader
        staked.gain_k, -- per trader
        staked.shift_k, -- per trader
        cleared.liquidity,
        staked.topic_number
    from int_topics_staked as staked
    inner join int_topics_cleared as cleared
        on staked.topic_number = cleared.topic_number

),

orders as (

    select
        (0.5 * documents.signal_k - stakes.middle_k) * stakes.gain_k as order_k, -- per trader
        stakes.shift_k, -- per trader
        stakes.liquidity,
        documents.document_number
    from market_documents as documents
    inner join stakes
        on documents.topic_number = stakes.topic_number

),

-- The orders of int_documents_held, one by one.
contributions as (

    select
        document_number,
        map(
            $traders,
            [
                cast(order_k - shift_k as bigint) / 1e12 / liquidity, -- per trader
            ]
        ) as contributions
    from orders

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
