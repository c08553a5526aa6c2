-- The run of each published version of a pool whose market is still told of, the last one first.
-- grain:  one row per version
-- reads:  manifests, selections
-- params: $pool
with

versions as (

    select
        version,
        run_id
    from manifests
    where pool = $pool and status = 'published'

),

markets as (

    select
        run_id,
        board_id
    from selections

)

select
    versions.version,
    versions.run_id,
    markets.board_id
from versions
inner join markets
    on versions.run_id = markets.run_id
order by versions.version desc
