-- Rows of a run that hold a document, and what became of each; null where nothing was decided.
-- grain:  one row per source, locator
-- reads:  sources, arrivals, decisions
-- params: $run_id, $document_id
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
        row_number,
        place,
        label,
        metadata
    from arrivals
    where document_id = $document_id

),

decided as (

    select
        source,
        locator,
        stage,
        outcome,
        reason,
        representative_id,
        value
    from decisions
    where
        run_id = $run_id
        and document_id = $document_id

),

arrived as (

    select
        files.source,
        files.source_rank,
        files.uri,
        read_rows.row_number,
        files.uri || read_rows.place as locator,
        read_rows.label,
        read_rows.metadata
    from files
    inner join read_rows
        on files.file_id = read_rows.file_id

)

select
    arrived.source,
    arrived.locator,
    arrived.label,
    arrived.metadata,
    decided.stage,
    decided.outcome,
    decided.reason,
    decided.representative_id,
    decided.value
from arrived
left join decided
    on
        arrived.source = decided.source
        and arrived.locator = decided.locator
order by
    decided.outcome is not distinct from 'dropped' asc,
    arrived.source_rank asc,
    arrived.uri asc,
    arrived.row_number asc
