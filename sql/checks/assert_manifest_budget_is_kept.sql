-- Fails when a manifest spends more than its budget, or when it is judged without any budget.
-- reads:  contract_rows
-- params: $limit_tokens (tokens, or null), $limit_documents (documents, or null)
with

spent as (

    select
        coalesce(sum(tokens), 0) as tokens,
        count(*) as documents
    from contract_rows

),

limits as (

    select
        cast($limit_tokens as bigint) as limit_tokens,
        cast($limit_documents as bigint) as limit_documents

)

select
    'all documents' as what,
    spent.tokens,
    limits.limit_tokens,
    spent.documents,
    limits.limit_documents
from spent
cross join limits
where
    spent.tokens > limits.limit_tokens
    or spent.documents > limits.limit_documents
    or (limits.limit_tokens is null and limits.limit_documents is null)
