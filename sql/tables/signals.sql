-- Utility signals: larger is more useful.
-- grain: one row per signal_id, snapshot_id, document_id
create table if not exists signals (
    signal_id varchar not null,
    snapshot_id varchar not null, -- '-' for a document-scoped signal
    document_id varchar not null,
    value double not null,
    primary key (signal_id, snapshot_id, document_id)
)
