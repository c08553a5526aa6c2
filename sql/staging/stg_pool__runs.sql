-- Runs of a pool with the version that each published or found published, the latest first.
-- grain:  one row per run_id
-- reads:  runs, manifests
-- params: $pool
with

pool_runs as (

    select
        run_id,
        config_text,
        started_at,
        status,
        message
    from runs
    where pool = $pool

),

versions as (

    select
        version,
        run_id,
        path
    from manifests
    where pool = $pool

),

-- The message of a completed run is the path of the version that holds its selection.
held_versions as (

    select
        pool_runs.run_id,
        min(versions.version) as version
    from pool_runs
    inner join versions
        on
            pool_runs.run_id = versions.run_id
            or (pool_runs.status = 'completed' and pool_runs.message = versions.path)
    group by pool_runs.run_id

)

select
    pool_runs.run_id,
    pool_runs.started_at,
    pool_runs.status,
    held_versions.version,
    pool_runs.config_text
from pool_runs
left join held_versions
    on pool_runs.run_id = held_versions.run_id
order by pool_runs.started_at desc, pool_runs.run_id desc
