-- Wealth after each settlement of a pool, the last one first.
-- grain:  one row per settlement_id, trader
-- reads:  settlements, wealth
-- params: $pool
with

settled as (

    select
        settlement_id,
        settled_at,
        weights,
        liquidity
    from settlements
    where pool = $pool

),

owned as (

    select
        settlement_id,
        trader,
        wealth,
        fitted_weight
    from wealth

)

select
    settled.settlement_id,
    settled.settled_at,
    settled.weights,
    settled.liquidity,
    owned.trader,
    owned.wealth,
    owned.fitted_weight
from settled
inner join owned
    on settled.settlement_id = owned.settlement_id
order by settled.settled_at desc, settled.settlement_id desc, owned.trader asc
