-- How reference models were trained, by fold.
-- grain:  one row per model_fingerprint
-- reads:  language_models
-- params: $fingerprints (list)
select
    model_fingerprint,
    run_id,
    fold,
    folds,
    documents,
    settings,
    curve,
    seconds,
    cpu_seconds
from language_models
where list_contains(cast($fingerprints as varchar[]), model_fingerprint)
order by fold, model_fingerprint
