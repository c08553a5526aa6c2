-- Sketch shards of one version of the sketches.
-- grain:  one row per sketch_shard
-- reads:  sketch_shards
-- params: $sketches_id
select
    sketch_shard,
    sha256
from sketch_shards
where sketches_id = $sketches_id
order by sketch_shard
