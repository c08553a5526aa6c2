-- How each stored signal was computed, and what it cost.
-- grain: one row per signal_id
create table if not exists signal_versions (
    signal_id varchar primary key, -- name and digest of parameters, model, inputs and revision
    signal varchar not null,
    scope varchar not null, -- document, pool
    parameters json not null,
    model_fingerprint varchar not null,
    orientation varchar not null,
    revision integer not null,
    seconds double not null,
    cpu_seconds double not null,
    gpu_seconds double not null,
    model_calls bigint not null
)
