-- Fails when more than one in a hundred documents asked about has no answer. Every row is one.
-- reads:  contract_rows
-- params: $run_id
with

answered as (

    select distinct document_id
    from contract_rows
    where failure is null

),

failed as (

    select
        contract_rows.document_id,
        contract_rows.failure
    from contract_rows
    anti join answered
        on contract_rows.document_id = answered.document_id
    where contract_rows.run_id = $run_id

),

counted as (

    select
        (select count(*) from answered) as answers,
        (select count(*) from failed) as failures

)

select
    failed.document_id,
    failed.failure
from failed
cross join counted
where counted.failures > 0.01 * (counted.answers + counted.failures)
