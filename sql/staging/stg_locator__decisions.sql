-- What became of the row at a place, in every run of a pool; the latest completed run first.
-- grain:  one row per run_id, source
-- reads:  decisions, runs
-- params: $pool, $locator
with

pool_runs as (

    select
        run_id,
        started_at,
        status
    from runs
    where pool = $pool

),

decided as (

    select
        run_id,
        source,
        document_id
    from decisions
    where locator = $locator

)

select
    decided.run_id,
    decided.source,
    decided.document_id
from decided
inner join pool_runs
    on decided.run_id = pool_runs.run_id
order by
    pool_runs.status = 'completed' desc,
    pool_runs.started_at desc,
    decided.run_id desc,
    decided.document_id asc nulls last,
    decided.source asc
