-- What became of the rows of this run, by source.
-- grain:  one row per source, stage, outcome, reason
-- reads:  decisions
-- params: $run_id
select
    source,
    stage,
    outcome,
    reason,
    count(*) as decided_rows
from decisions
where run_id = $run_id
group by source, stage, outcome, reason
order by source, stage, outcome, reason
