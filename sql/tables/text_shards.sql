-- Parquet files that hold document texts.
-- grain: one row per text_shard
create table if not exists text_shards (
    text_shard varchar primary key, -- file name under warehouse/text/
    sha256 varchar not null,
    documents bigint not null,
    bytes bigint not null
)
