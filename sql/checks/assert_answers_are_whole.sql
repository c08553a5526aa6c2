-- Fails when an answer lacks a part of it, or a failure has one. Every row is a violation.
-- reads: contract_rows
with

counted as (

    select
        document_id,
        failure,
        (
            (log_p_yes_low is not null)::integer
            + (log_p_yes_high is not null)::integer
            + (log_p_no_low is not null)::integer
            + (log_p_no_high is not null)::integer
            + (is_truncated is not null)::integer
        ) as parts
    from contract_rows

)

select
    document_id,
    case
        when failure is null then parts || ' of 5 parts of an answer'
        else 'a failure with ' || parts || ' of 5 parts of an answer'
    end as problem
from counted
where parts != case when failure is null then 5 else 0 end
