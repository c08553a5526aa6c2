-- Results of a comparison, cell by cell.
-- grain:  one row per sampler, budget_tokens, seed, target, metric
-- reads:  comparisons
-- params: $comparison_id
select
    sampler,
    budget as budget_tokens,
    seed,
    target,
    metric,
    metric_value as value,
    tokens,
    documents,
    select_seconds,
    select_cpu_seconds,
    train_seconds
from comparisons
where comparison_id = $comparison_id
order by sampler, budget, seed, target, metric
