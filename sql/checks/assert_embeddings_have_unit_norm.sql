-- Fails when a finite vector's Euclidean norm is not 1 within 1e-3. Every row is a violation.
-- The tolerance is that of vectors computed in half precision.
-- reads: contract_rows
with

finite as (

    select
        document_id,
        vector
    from contract_rows
    where len(list_filter(vector, lambda x: not coalesce(isfinite(x), false))) = 0

),

measured as (

    select
        document_id,
        sqrt(
            coalesce(
                list_sum(list_transform(vector, lambda x: cast(x as double) * cast(x as double))),
                0
            )
        ) as norm
    from finite

)

select
    document_id,
    round(norm, 6) as norm
from measured
where abs(norm - 1) > 1e-3
