-- New answers with what a run has spent on the same documents before: an attempt without an answer
-- costs too.
-- grain:  one row per scorer_id, document_id, run_id
-- reads:  new_answers, answers
with

new as (

    select
        scorer_id,
        document_id,
        run_id,
        log_p_yes_low,
        log_p_yes_high,
        log_p_no_low,
        log_p_no_high,
        is_truncated,
        failure,
        requests,
        prompt_tokens,
        completion_tokens,
        unreported_requests
    from new_answers

),

before as (

    select
        scorer_id,
        document_id,
        run_id,
        requests,
        prompt_tokens,
        completion_tokens,
        unreported_requests
    from answers

)

select
    new.scorer_id,
    new.document_id,
    new.run_id,
    new.log_p_yes_low,
    new.log_p_yes_high,
    new.log_p_no_low,
    new.log_p_no_high,
    new.is_truncated,
    new.failure,
    new.requests + coalesce(before.requests, 0) as requests,
    new.prompt_tokens + coalesce(before.prompt_tokens, 0) as prompt_tokens,
    new.completion_tokens + coalesce(before.completion_tokens, 0) as completion_tokens,
    new.unreported_requests + coalesce(before.unreported_requests, 0) as unreported_requests
from new
left join before
    on
        new.scorer_id = before.scorer_id
        and new.document_id = before.document_id
        and new.run_id = before.run_id
