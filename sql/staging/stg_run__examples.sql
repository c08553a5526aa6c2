-- Examples of targets, or protected texts, that this run read; one that comes again counts once.
-- grain:  one row per name, document_id
-- reads:  example_files, arrivals
-- params: $run_id, $kind
with

files as (

    select
        name,
        position,
        uri,
        file_id
    from example_files
    where run_id = $run_id and kind = $kind

),

read_rows as (

    select
        file_id,
        row_number as row_in_file,
        document_id,
        label,
        prompt_characters
    from arrivals

),

examples as (

    select
        files.name,
        files.position,
        read_rows.document_id,
        read_rows.label,
        read_rows.prompt_characters,
        row_number() over (
            partition by files.name, read_rows.document_id
            order by files.uri, read_rows.row_in_file
        ) as appearance
    from files
    inner join read_rows
        on files.file_id = read_rows.file_id

)

select
    name,
    document_id,
    label,
    prompt_characters
from examples
where appearance = 1
order by position, document_id
