-- The part of the snapshot that each document belongs to.
-- grain: one row per topics_id, document_id
create table if not exists topics (
    topics_id varchar not null, -- digest of the snapshot, the encoder and the topic settings
    snapshot_id varchar not null,
    document_id varchar not null,
    topic varchar not null,
    similarity double, -- cosine to the topic's centroid; null without embeddings
    primary key (topics_id, document_id)
)
