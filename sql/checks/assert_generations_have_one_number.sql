-- Fails when a document has more or fewer texts than most; of equally frequent numbers the least
-- is right. Every row is a violation.
-- reads: contract_rows
with

counted as (

    select
        document_id,
        len(texts) as written
    from contract_rows

),

most_frequent as (

    select written
    from counted
    where written is not null
    group by written
    order by
        count(*) desc,
        written asc
    limit 1

)

select
    counted.document_id,
    counted.written,
    most_frequent.written as expected
from counted
inner join most_frequent
    on counted.written != most_frequent.written
