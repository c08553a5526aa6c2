-- Documents of a snapshot, in key order.
-- grain:  one row per document_id
-- reads:  snapshots
-- params: $snapshot_id
select document_id
from snapshots
where snapshot_id = $snapshot_id
order by document_id
