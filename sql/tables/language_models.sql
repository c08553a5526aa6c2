-- Reference language models that were trained on a pool; their files are in the warehouse's folder
-- language_models/.
-- grain: one row per model_fingerprint
create table if not exists language_models (
    model_fingerprint varchar primary key, -- digest of all that decides the weights
    pool varchar not null,
    run_id varchar not null, -- that trained it
    fold integer not null, -- its own: not trained on
    folds integer not null,
    documents bigint not null, -- trained on
    settings json not null,
    curve json not null, -- step, tokens, train_loss, held_out_loss in nats per token
    seconds double not null,
    cpu_seconds double not null
)
