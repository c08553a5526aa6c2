-- Traders of the market.
-- grain:  one row per trader
-- reads:  none
-- params: $traders (list of names)
select unnest($traders) as trader
