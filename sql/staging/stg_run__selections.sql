-- What the market of a run was cleared and spent with.
-- grain:  one row per run_id
-- reads:  selections
-- params: $run_id
select
    run_id,
    snapshot_id,
    topics_id,
    tokenizer_id,
    signal_ids,
    length_bias,
    budget_kind,
    limit_cost,
    marginal_log_price_per_token,
    tokens,
    documents
from selections
where run_id = $run_id
