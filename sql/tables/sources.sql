-- What each run read: the files of each source.
-- grain: one row per run_id, source, uri
create table if not exists sources (
    run_id varchar not null,
    source varchar not null,
    source_rank integer not null, -- position in the config: the earlier source keeps a duplicate
    uri varchar not null,
    file_id varchar not null,
    sha256 varchar not null,
    bytes bigint not null,
    rows bigint not null,
    rejected_rows bigint not null,
    primary key (run_id, source, uri)
)
