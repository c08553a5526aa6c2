-- How many rows that became a document each source, or each label, brought.
-- grain:  one row per name
-- reads:  stg_run__arrivals
-- params: $part (source or label)
with

arrived as (

    select case when $part = 'source' then source else label end as name
    from stg_run__arrivals

)

select
    name,
    count(*) as arrived_rows
from arrived
where name is not null
group by name
order by name
