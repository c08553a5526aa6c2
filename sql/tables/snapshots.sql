-- Documents that survive dedup in some refresh.
-- grain: one row per snapshot_id, document_id
create table if not exists snapshots (
    snapshot_id varchar not null,
    document_id varchar not null,
    primary key (snapshot_id, document_id)
)
