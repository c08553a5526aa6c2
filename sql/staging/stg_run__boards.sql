-- The board of a run's market.
-- grain:  one row per run_id
-- reads:  selections
-- params: $run_id
select
    run_id,
    board_id
from selections
where run_id = $run_id
