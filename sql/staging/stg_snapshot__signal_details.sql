-- What a reader should know about how the values of signals came about.
-- grain:  one row per signal_id
-- reads:  signal_details
-- params: $signal_ids (list), $snapshot_id
select
    signal_id,
    details
from signal_details
where
    list_contains(cast($signal_ids as varchar[]), signal_id)
    and snapshot_id in ('-', $snapshot_id)
order by signal_id
