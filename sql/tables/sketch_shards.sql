-- Parquet files that hold what near dedup keeps of documents: band keys, or shingles.
-- grain: one row per sketch_shard
create table if not exists sketch_shards (
    sketch_shard varchar primary key, -- file name under warehouse/sketches/
    sketches_id varchar not null, -- digest of the settings that the content depends on
    sha256 varchar not null,
    documents bigint not null,
    bytes bigint not null
)
