-- How many rows of a source, or with a label, each document stands for, besides its own.
-- grain:  one row per name, representative_id
-- reads:  decisions, stg_run__arrivals
-- params: $run_id, $part (source or label)
with

dropped as (

    select
        source,
        locator,
        representative_id
    from decisions
    where
        run_id = $run_id
        and outcome = 'dropped'
        and stage in ('exact_dedup', 'near_dedup', 'semantic_dedup')
        and representative_id is not null

),

arrived as (

    select
        source,
        locator,
        case when $part = 'source' then source else label end as name
    from stg_run__arrivals

)

select
    arrived.name,
    dropped.representative_id,
    count(*) as dropped_rows
from dropped
inner join arrived
    on
        dropped.source = arrived.source
        and dropped.locator = arrived.locator
where arrived.name is not null
group by
    arrived.name,
    dropped.representative_id
order by
    arrived.name asc,
    dropped_rows desc,
    dropped.representative_id asc
