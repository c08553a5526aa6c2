-- Traders of the market and the size of their orders.
-- grain:  one row per trader
-- reads:  none
-- params: $traders (list of names), $weights (list of the same length, >= 0, sum 1)
select
    unnest($traders) as trader,
    cast(unnest($weights) as double) as weight
