-- Makers of the market: how deep each topic's market is and what part of all prices it gets.
-- grain:  one row per topic
-- reads:  none
-- params: $topics (list of names), $liquidities (list of the same length, shares, > 0),
--         $masses (list of the same length, > 0, sum 1)
select
    unnest($topics) as topic,
    cast(unnest($liquidities) as double) as liquidity,
    cast(unnest($masses) as double) as mass
