-- Candidates of the market: every document of the snapshot, its source, topic and length.
-- Null topic or tokens: the document lacks them (assert_candidates_are_complete).
-- grain:  one row per document_id
-- reads:  snapshots, pool_documents, topics
-- params: $run_id, $snapshot_id, $topics_id
with

candidates as (

    select document_id
    from snapshots
    where snapshot_id = $snapshot_id

),

run_documents as (

    select
        document_id,
        source,
        tokens
    from pool_documents
    where run_id = $run_id

),

document_topics as (

    select
        document_id,
        topic
    from topics
    where topics_id = $topics_id

)

select
    candidates.document_id,
    run_documents.source,
    document_topics.topic,
    run_documents.tokens
from candidates
left join run_documents
    on candidates.document_id = run_documents.document_id
left join document_topics
    on candidates.document_id = document_topics.document_id
