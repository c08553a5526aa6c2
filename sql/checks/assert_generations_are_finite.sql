-- Fails when a log-likelihood is NaN or infinite. Every row is a violation.
-- reads: contract_rows
with

counted as (

    select
        document_id,
        len(list_filter(log_likelihoods, lambda x: not isfinite(x))) as bad_likelihoods
    from contract_rows

)

select
    document_id,
    bad_likelihoods
from counted
where bad_likelihoods > 0
