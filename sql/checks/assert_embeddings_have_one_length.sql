-- Fails when a vector is not as long as most are; of equally frequent lengths the least is right.
-- reads: contract_rows
with

lengths as (

    select
        document_id,
        len(vector) as dimensions
    from contract_rows

),

most_frequent as (

    select dimensions
    from lengths
    where dimensions is not null
    group by dimensions
    order by
        count(*) desc,
        dimensions asc
    limit 1

)

select
    lengths.document_id,
    lengths.dimensions,
    most_frequent.dimensions as expected_dimensions
from lengths
inner join most_frequent
    on lengths.dimensions != most_frequent.dimensions
