-- Rows that this run read, by source.
-- grain:  one row per source
-- reads:  sources
-- params: $run_id
select
    source,
    min(source_rank) as source_rank,
    count(*) as files,
    sum(bytes) as bytes,
    sum(rows) as read_rows,
    sum(rejected_rows) as rejected_rows
from sources
where run_id = $run_id
group by source
order by min(source_rank), source
