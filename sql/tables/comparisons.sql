-- What a proxy that was trained on a sampler's pick is worth, and what the pick is like.
-- grain: one row per comparison_id, sampler, budget, seed, target, metric
create table if not exists comparisons (
    comparison_id varchar not null, -- digest of documents, signals, tests, proxy and settings
    sampler varchar not null, -- or all
    budget bigint not null, -- in the unit of the costs
    seed integer not null,
    target varchar not null, -- a test set, or pick for what the pick is like
    metric varchar not null,
    metric_value double not null,
    tokens bigint not null, -- spent
    documents bigint not null, -- bought
    select_seconds double not null,
    select_cpu_seconds double not null,
    train_seconds double not null,
    primary key (comparison_id, sampler, budget, seed, target, metric)
)
