-- Rows that this run read and could not use, as decisions.
-- grain:  one row per source, locator
-- reads:  sources, quarantine
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

rejected_rows as (

    select
        file_id,
        place,
        reason
    from quarantine

)

select
    $run_id as run_id,
    files.uri || rejected_rows.place as locator,
    files.source,
    'ingest' as stage,
    'quarantined' as outcome,
    rejected_rows.reason
from files
inner join rejected_rows
    on files.file_id = rejected_rows.file_id
