-- Pools that were ever refreshed into this warehouse.
-- grain:  one row per pool
-- reads:  runs
-- params: none
select distinct pool
from runs
order by pool
