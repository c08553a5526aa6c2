-- Documents of a snapshot with the lengths of their texts, in key order.
-- grain:  one row per document_id
-- reads:  snapshots, documents
-- params: $snapshot_id
select
    snapshots.document_id,
    documents.characters
from snapshots
inner join documents
    on snapshots.document_id = documents.document_id
where snapshots.snapshot_id = $snapshot_id
order by snapshots.document_id
