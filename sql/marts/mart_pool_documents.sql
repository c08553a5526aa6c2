-- Distinct documents of this run, each spoken for by its first-ranked arrival.
-- grain:  one row per document_id
-- reads:  int_arrivals_ranked
-- params: $run_id
select
    $run_id as run_id,
    document_id,
    source,
    locator,
    label,
    prompt_characters,
    metadata,
    tokens
from int_arrivals_ranked
where
    arrival_rank = 1
    and tokens > 0
