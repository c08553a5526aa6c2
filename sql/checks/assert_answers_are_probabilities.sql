-- Fails when yes and no are more than certain together. Every row is a violation.
-- Endpoints round their probabilities, so a sum may exceed 1 by 0.01.
-- reads: contract_rows
with

certain as (

    select
        document_id,
        exp(log_p_yes_low) + exp(log_p_no_low) as least_sum
    from contract_rows
    where
        isfinite(exp(log_p_yes_low))
        and isfinite(exp(log_p_no_low))

)

select
    document_id,
    round(least_sum, 6) as least_sum
from certain
where least_sum > 1.01 + 1e-6
