-- Distinct texts ever seen. What a source's row says about one (label, metadata) is in arrivals.
-- grain: one row per document_id
create table if not exists documents (
    document_id varchar primary key, -- 128-bit blake2b of the canonical text, in hex
    characters bigint not null,
    text_shard varchar not null
)
