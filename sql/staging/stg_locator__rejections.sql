-- Why the row at a place went to quarantine in a run, and the beginning of what came.
-- grain:  one row per source
-- reads:  sources, quarantine
-- params: $run_id, $locator
with

files as (

    select
        source,
        uri,
        file_id
    from sources
    where
        run_id = $run_id
        and starts_with($locator, uri)

),

rejected_rows as (

    select
        file_id,
        place,
        reason,
        detail,
        excerpt
    from quarantine

)

select
    files.source,
    rejected_rows.reason,
    rejected_rows.detail,
    rejected_rows.excerpt
from files
inner join rejected_rows
    on files.file_id = rejected_rows.file_id
where files.uri || rejected_rows.place = $locator -- noqa: RF02
order by files.source
