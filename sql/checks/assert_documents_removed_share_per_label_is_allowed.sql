-- Fails when dedup took more of a label than the config allows; rows without a label count nowhere.
-- reads:  sources, arrivals, decisions
-- params: $run_id, $max_removed_share_per_label (a share, or null: any)
with

arrived as (

    select
        files.source,
        files.uri || read_rows.place as locator,
        read_rows.label as name
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
where removed_rows / arrived_rows > cast($max_removed_share_per_label as double)
