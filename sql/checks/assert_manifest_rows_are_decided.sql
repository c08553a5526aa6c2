-- Fails when a row that came in has no final decision by the time of publication.
-- reads:  sources, arrivals, quarantine, decisions
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

decided as (

    select
        source,
        locator
    from decisions
    where run_id = $run_id

),

came_in as (

    select
        files.source,
        files.uri || read_rows.place as locator
    from files
    inner join read_rows
        on files.file_id = read_rows.file_id

)

select
    came_in.locator,
    came_in.source
from came_in
anti join decided
    on
        came_in.source = decided.source
        and came_in.locator = decided.locator
