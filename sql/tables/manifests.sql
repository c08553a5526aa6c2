-- Published selections.
-- grain: one row per pool, version
create table if not exists manifests (
    pool varchar not null,
    version integer not null,
    manifest_id varchar not null,
    run_id varchar not null,
    parent varchar,
    path varchar not null,
    tokens bigint not null,
    documents bigint not null,
    status varchar not null, -- published, withdrawn
    published_at timestamp not null,
    primary key (pool, version)
)
