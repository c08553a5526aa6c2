-- How many rows of a source each document stands for, besides its own.
-- grain:  one row per source, representative_id
-- reads:  decisions
-- params: $run_id
select
    source,
    representative_id,
    count(*) as dropped_rows
from decisions
where
    run_id = $run_id
    and outcome = 'dropped'
    and stage in ('exact_dedup', 'near_dedup')
    and representative_id is not null
group by source, representative_id
order by source asc, dropped_rows desc, representative_id asc
