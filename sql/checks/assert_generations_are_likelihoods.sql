-- Fails when a finite log-likelihood is more than 0. Every row is a violation.
-- reads: contract_rows
with

measured as (

    select
        document_id,
        list_max(list_filter(log_likelihoods, lambda x: isfinite(x))) as largest
    from contract_rows

)

select
    document_id,
    largest
from measured
where largest > 0
