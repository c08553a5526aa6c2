-- Files that a run read, in order.
-- grain:  one row per source, uri
-- reads:  sources
-- params: $run_id
select
    source,
    uri,
    rows as read_rows
from sources
where run_id = $run_id
order by source_rank, uri
