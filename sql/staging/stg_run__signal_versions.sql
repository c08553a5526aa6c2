-- How the signals of this run were computed.
-- grain:  one row per signal_id
-- reads:  signal_versions
-- params: $signal_ids (list of signal_id)
select
    signal_id,
    signal,
    scope,
    parameters,
    model_fingerprint,
    orientation,
    revision,
    seconds,
    cpu_seconds,
    gpu_seconds,
    model_calls
from signal_versions
where signal_id in (select unnest($signal_ids))
order by signal, signal_id
