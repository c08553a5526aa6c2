-- What models have cost so far, for a part that a signal reads.
-- grain:  one row per measured_id
-- reads:  model_costs
-- params: $measured_ids (list), $part
select
    measured_id,
    sum(seconds) as seconds,
    sum(cpu_seconds) as cpu_seconds,
    sum(model_calls)::bigint as model_calls
from model_costs
where
    list_contains(cast($measured_ids as varchar[]), measured_id)
    and part = $part
group by measured_id
order by measured_id
