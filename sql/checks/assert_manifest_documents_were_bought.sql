-- Fails when a document was not bought, was bought and is missing, or has another length.
-- reads:  contract_rows, prices
-- params: $run_id
with

checked as (

    select
        document_id,
        tokens
    from contract_rows

),

priced as (

    select
        document_id,
        tokens,
        is_selected
    from prices
    where run_id = $run_id

),

compared as (

    select
        coalesce(checked.document_id, priced.document_id) as document_id,
        case
            when checked.document_id is null and priced.is_selected then 'was bought, is missing'
            when checked.document_id is null then null
            when priced.document_id is null then 'has no price'
            when not priced.is_selected then 'was not bought'
            when checked.tokens != priced.tokens then 'has another length'
        end as problem
    from checked
    full outer join priced
        on checked.document_id = priced.document_id

)

select
    document_id,
    problem
from compared
where problem is not null
