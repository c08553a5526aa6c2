-- Arrivals that repeat a document word for word, and those without a single token.
-- grain:  one row per source, locator
-- reads:  int_arrivals_ranked
-- params: $run_id
select
    $run_id as run_id,
    locator,
    source,
    document_id,
    'exact_dedup' as stage,
    'dropped' as outcome,
    case when tokens > 0 then 'exact_duplicate' else 'no_tokens' end as reason,
    case when tokens > 0 then document_id end as representative_id,
    case when tokens > 0 then 1.0 end as value
from int_arrivals_ranked
where
    arrival_rank > 1
    or tokens = 0
