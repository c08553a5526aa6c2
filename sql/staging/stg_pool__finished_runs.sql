-- Refreshes of a pool that were finished, the last one first, and what their stages reported.
-- grain:  one row per run_id
-- reads:  runs
-- params: $pool
select
    run_id,
    config_digest,
    cast(stages as varchar) as stages
from runs
where pool = $pool and flow = 'refresh_pool' and status = 'completed'
order by started_at desc, run_id desc
