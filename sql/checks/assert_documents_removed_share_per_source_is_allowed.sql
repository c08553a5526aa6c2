-- Fails when dedup took more of a source than the config allows.
-- reads:  sources, arrivals, decisions
-- params: $run_id, $max_removed_share_per_source (a share)
with

arrived as (

    select
        files.source,
        files.uri || read_rows.place as locator,
        files.source as name
    from sources as files
    inner join arrivals as read_rows
        on files.file_id = read_rows.file_id
    where files.run_id = $run_id

),

dropped as (

    select
        source,
        locator
    from decisions
    where
        run_id = $run_id
        and outcome = 'dropped'
        and stage in ('exact_dedup', 'near_dedup', 'semantic_dedup')
        and representative_id is not null

),

counted as (

    select
        arrived.name,
        count(*) as arrived_rows,
        count(dropped.locator) as removed_rows
    from arrived
    left join dropped
        on
            arrived.source = dropped.source
            and arrived.locator = dropped.locator
    where arrived.name is not null
    group by arrived.name

)

select
    name,
    removed_rows,
    arrived_rows
from counted
where removed_rows / arrived_rows > cast($max_removed_share_per_source as double)
