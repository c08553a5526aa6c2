-- Every refresh that was started, whatever became of it.
-- grain: one row per run_id
create table if not exists runs (
    run_id varchar primary key,
    pool varchar not null,
    flow varchar not null,
    config_digest varchar not null,
    config_text varchar not null,
    code_version varchar not null,
    started_at timestamp not null,
    ended_at timestamp,
    status varchar not null, -- running, completed, failed
    message varchar not null,
    stages json -- [{stage, rows_in, rows_out, seconds, cpu_seconds}]
)
