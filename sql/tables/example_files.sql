-- What each run read beside its sources: files of targets, and of texts that must not be in the
-- pool.
-- grain: one row per run_id, kind, name, uri
create table if not exists example_files (
    run_id varchar not null,
    kind varchar not null, -- target, protected, test or settlement
    name varchar not null,
    position integer not null, -- in the config
    uri varchar not null,
    file_id varchar not null,
    sha256 varchar not null,
    bytes bigint not null,
    rows bigint not null,
    rejected_rows bigint not null,
    primary key (run_id, kind, name, uri)
)
