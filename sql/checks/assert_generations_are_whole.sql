-- Fails when a text lacks its likelihood or meaning, or there is none. Every row is a violation.
-- reads: contract_rows
with

counted as (

    select
        document_id,
        len(texts) as written,
        len(log_likelihoods) as likelihoods,
        len(meanings) as grouped,
        len(list_filter(texts, lambda x: x is null))
        + len(list_filter(log_likelihoods, lambda x: x is null))
        + len(list_filter(meanings, lambda x: x is null)) as nulls
    from contract_rows

)

select
    document_id,
    written,
    likelihoods,
    grouped,
    nulls
from counted
where
    written = 0
    or written != likelihoods
    or written != grouped
    or nulls > 0
