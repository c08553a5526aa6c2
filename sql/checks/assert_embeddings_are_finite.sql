-- Fails when a component of a vector is null, NaN or infinite. Every row is a violation.
-- reads: contract_rows
with

counted as (

    select
        document_id,
        len(list_filter(vector, lambda x: not coalesce(isfinite(x), false))) as bad_components
    from contract_rows

)

select
    document_id,
    bad_components
from counted
where bad_components > 0
