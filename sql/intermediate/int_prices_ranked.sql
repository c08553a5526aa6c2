-- The market of a run up to a rank: what everything down to that rank costs together.
-- grain:  one row per run_id
-- reads:  prices
-- params: $run_id, $price_rank, $budget_kind
select
    run_id,
    count(*) as n_documents,
    cast(sum(tokens) as bigint) as tokens,
    cast(
        sum(if($budget_kind = 'documents', 1, tokens)) filter (price_rank <= $price_rank) as bigint
    ) as cost_to_rank
from prices
where run_id = $run_id
group by run_id
