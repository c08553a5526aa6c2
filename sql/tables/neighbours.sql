-- Nearest documents of each document within its snapshot, nearest first, without itself.
-- grain: one row per neighbours_id, document_id
create table if not exists neighbours (
    neighbours_id varchar not null, -- digest of the snapshot, the encoder and k
    document_id varchar not null,
    positions integer[] not null, -- from 0, in the snapshot ordered by document_id
    similarities float[] not null, -- cosine, rounded to 6 decimals
    primary key (neighbours_id, document_id)
)
