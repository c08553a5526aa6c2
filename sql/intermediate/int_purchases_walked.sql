-- The plain greedy walk seen by one document that was left: until where the budget had place for
-- it, what was left at its turn, and at which length its price would have bought it.
-- Purchases run dearest per token first. A document of cost c gets in ahead of a purchase if its
-- price per token is at least that of the purchase and c was left before it.
-- grain:  one row per run_id
-- reads:  prices
-- params: $run_id, $rule (skip, stop), $budget_kind, $limit_cost, $price_rank, $tokens, $log_price,
--         $length_bias
with

purchases as (

    select
        run_id,
        price_rank,
        log_price_per_token,
        if($budget_kind = 'documents', 1, tokens) as cost
    from prices
    where
        run_id = $run_id
        and is_selected

),

walked as (

    select
        run_id,
        price_rank,
        log_price_per_token,
        $limit_cost - sum(cost) over (
            order by price_rank
            rows between unbounded preceding and current row
        ) as left_after,
        cost
    from purchases

),

-- exp(43) tokens are more than a bigint needs to hold.
lengths as (

    select
        run_id,
        price_rank,
        log_price_per_token,
        left_after,
        left_after + cost as left_before,
        case
            when $length_bias > 0
                then
                    cast(
                        floor(
                            exp(least(($log_price - log_price_per_token) / $length_bias, 43.0))
                            * (1 + 1e-12)
                        ) as bigint
                    )
            when $length_bias = 0 and $log_price >= log_price_per_token then $tokens
            else 0
        end as dear_tokens
    from walked

)

select
    run_id,
    arg_min(log_price_per_token, price_rank) filter (
        left_after < if($budget_kind = 'documents', 1, $tokens)
    ) as needed_log_price_per_token,
    cast(
        coalesce(min(left_after) filter (price_rank < $price_rank), $limit_cost) as bigint
    ) as left_at_turn,
    cast(
        greatest(
            max(
                if($budget_kind = 'documents', dear_tokens, least(dear_tokens, left_before))
            ),
            -- Under the skip rule, what is left at the end buys at any price.
            if($budget_kind = 'documents' or $rule = 'stop', 0, min(left_after))
        ) as bigint
    ) as longest_tokens
from lengths
group by run_id
