-- What a model answered when asked whether a document is worth training on, failures included.
-- grain: one row per scorer_id, document_id, run_id
create table if not exists answers (
    scorer_id varchar not null, -- model or endpoint, prompt and revision
    document_id varchar not null,
    run_id varchar not null, -- that asked
    log_p_yes_low double, -- ln P(yes) is between low and high; null: no answer
    log_p_yes_high double,
    log_p_no_low double,
    log_p_no_high double,
    is_truncated boolean,
    failure varchar, -- why there is no answer
    requests bigint not null,
    prompt_tokens bigint not null,
    completion_tokens bigint not null,
    unreported_requests bigint not null, -- whose tokens nobody told
    primary key (scorer_id, document_id, run_id)
)
