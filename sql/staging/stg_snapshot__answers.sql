-- Answers about the documents of a snapshot, in key order; documents without one are left out.
-- grain:  one row per document_id
-- reads:  snapshots, answers
-- params: $snapshot_id, $scorer_id
with

snapshot as (

    select document_id
    from snapshots
    where snapshot_id = $snapshot_id

),

answered as (

    select
        document_id,
        log_p_yes_low,
        log_p_yes_high,
        log_p_no_low,
        log_p_no_high
    from answers
    where
        scorer_id = $scorer_id
        and failure is null

)

select
    answered.document_id,
    answered.log_p_yes_low,
    answered.log_p_yes_high,
    answered.log_p_no_low,
    answered.log_p_no_high
from snapshot
inner join answered
    on snapshot.document_id = answered.document_id
order by answered.document_id
