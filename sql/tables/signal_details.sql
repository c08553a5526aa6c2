-- What a reader should know about how the values of a signal came about.
-- grain: one row per signal_id, snapshot_id
create table if not exists signal_details (
    signal_id varchar not null,
    snapshot_id varchar not null, -- '-' for a document-scoped signal
    details json not null,
    primary key (signal_id, snapshot_id)
)
