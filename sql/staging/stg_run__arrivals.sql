-- Rows that this run read and that became a document, with their place.
-- grain:  one row per source, locator
-- reads:  sources, arrivals
-- params: $run_id
with

files as (

    select
        source,
        source_rank,
        uri,
        file_id
    from sources
    where run_id = $run_id

),

read_rows as (

    select
        file_id,
        place,
        document_id,
        label,
        prompt_characters,
        metadata
    from arrivals

)

select
    read_rows.document_id,
    files.source,
    files.source_rank,
    files.uri || read_rows.place as locator,
    read_rows.label,
    read_rows.prompt_characters,
    cast(read_rows.metadata as varchar) as metadata
from files
inner join read_rows
    on files.file_id = read_rows.file_id
