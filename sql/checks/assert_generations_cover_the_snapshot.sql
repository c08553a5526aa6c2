-- Fails when nothing was written after the prompt of a document. Every row is a violation.
-- Where a document has no prompt, its whole text is one, and is stored under 0.
-- reads:  contract_rows, snapshots, pool_documents
-- params: $run_id, $snapshot_id
with

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
        snapshot.document_id,
        coalesce(documents.prompt_characters, 0) as prompt_characters
    from snapshot
    left join documents
        on snapshot.document_id = documents.document_id

),

checked as (

    select
        document_id,
        prompt_characters
    from contract_rows

)

select
    wanted.document_id,
    wanted.prompt_characters
from wanted
anti join checked
    on
        wanted.document_id = checked.document_id
        and wanted.prompt_characters = checked.prompt_characters
