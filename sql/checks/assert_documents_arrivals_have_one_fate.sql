-- Fails when a row that came in has no fate or two, or when a fate belongs to no row that came in.
-- Before the market, a fate is a place in the pool or a decision that kept the row out of it.
-- reads:  contract_rows, sources, arrivals, quarantine, decisions
-- params: $run_id
with

files as (

    select
        source,
        uri,
        file_id
    from sources
    where run_id = $run_id

),

read_rows as (

    select
        file_id,
        place
    from arrivals
    union all
    select
        file_id,
        place
    from quarantine

),

pool as (

    select
        source,
        locator
    from contract_rows

),

decided as (

    select
        source,
        locator,
        stage
    from decisions
    where run_id = $run_id

),

events as (

    select
        files.source,
        files.uri || read_rows.place as locator,
        1 as arrived,
        0 as kept,
        0 as kept_out,
        0 as decided
    from files
    inner join read_rows
        on files.file_id = read_rows.file_id
    union all
    select
        source,
        locator,
        0 as arrived,
        1 as kept,
        0 as kept_out,
        0 as decided
    from pool
    union all
    select
        source,
        locator,
        0 as arrived,
        0 as kept,
        case when stage in ('ingest', 'exact_dedup') then 1 else 0 end as kept_out,
        1 as decided
    from decided

),

fates as (

    select
        source,
        locator,
        sum(arrived) as arrivals,
        sum(kept) as pool_places,
        sum(kept_out) as early_decisions,
        sum(decided) as decisions
    from events
    group by
        source,
        locator

)

select
    locator,
    source,
    arrivals,
    pool_places,
    decisions
from fates
where
    arrivals != 1
    or pool_places + early_decisions != 1
    or decisions > 1
