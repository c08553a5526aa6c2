-- Fails when a candidate lacks a topic or a length. Every row returned is one kind of violation.
-- reads: stg_pool__documents
with

documents as (

    select
        document_id,
        topic,
        tokens
    from stg_pool__documents

),

violations as (

    select
        document_id,
        case
            when tokens is null then 'pool_documents'
            when tokens < 1 then 'pool_documents'
            else 'topics'
        end as contract,
        case
            when tokens is null then 'every document of the snapshot is in the run''s pool'
            when tokens < 1 then 'every document has at least 1 token'
            else 'every document of the snapshot has a topic'
        end as broken_rule
    from documents
    where
        topic is null
        or tokens is null
        or tokens < 1

)

select
    contract,
    broken_rule,
    count(*) as failing_rows,
    min(document_id, 3) as example_ids
from violations
group by
    contract,
    broken_rule
order by
    contract asc,
    broken_rule asc
