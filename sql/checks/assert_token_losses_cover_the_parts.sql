-- Fails when no model read a part that a document of the snapshot has. Every row is a violation.
-- Each document has a text; it has a completion, alone and conditioned, if it has a prompt.
-- reads:  contract_rows, snapshots, pool_documents
-- params: $run_id, $snapshot_id, $parts (list of parts that the run needs)
with

asked as (

    select part
    from unnest(cast($parts as varchar[])) as asked_parts (part)

),

snapshot as (

    select document_id
    from snapshots
    where snapshot_id = $snapshot_id

),

documents as (

    select
        document_id,
        prompt_characters
    from pool_documents
    where run_id = $run_id

),

wanted as (

    select
        asked.part,
        snapshot.document_id,
        case when asked.part = 'text' then 0 else documents.prompt_characters end
            as prompt_characters
    from snapshot
    cross join asked
    left join documents
        on snapshot.document_id = documents.document_id

),

checked as (

    select
        part,
        document_id,
        prompt_characters
    from contract_rows

)

select
    wanted.part || '/' || wanted.document_id as part_of_document,
    wanted.prompt_characters
from wanted
anti join checked
    on
        wanted.part = checked.part
        and wanted.document_id = checked.document_id
        and wanted.prompt_characters = checked.prompt_characters
where wanted.prompt_characters is not null
