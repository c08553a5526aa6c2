-- Fails when a trader's contribution is null, NaN or infinite. Cannot be judged without any trader.
-- reads: contract_rows
with

contributions as (

    select
        document_id,
        trader,
        contribution
    from contract_rows
    unpivot include nulls (
        contribution for trader in (columns('^contribution_'))
    )

)

select
    document_id,
    trader,
    contribution
from contributions
where not coalesce(isfinite(contribution), false)
