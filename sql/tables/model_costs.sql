-- What it took to ask models about documents: committed with each batch.
-- grain: one row per batch_id
create table if not exists model_costs (
    batch_id varchar primary key, -- drawn anew for each batch
    measured_id varchar not null, -- a losses_id, generations_id or scorer_id
    part varchar not null, -- of token_losses; '-' elsewhere
    run_id varchar not null,
    documents bigint not null,
    seconds double not null,
    cpu_seconds double not null,
    model_calls bigint not null -- documents, samples or requests
)
