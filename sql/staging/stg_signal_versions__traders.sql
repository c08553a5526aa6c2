-- Which trader each stored signal belongs to: a trader is called like its signal.
-- grain:  one row per signal_id
-- reads:  signal_versions
-- params: $signal_ids (list of signal_id)
select
    signal_id,
    signal as trader
from signal_versions
where signal_id in (select unnest($signal_ids))
order by signal_id asc
