-- Runs, of any pool, that saw a document, and whether its price was asked in them.
-- grain:  one row per run_id
-- reads:  runs, pool_documents, decisions, prices
-- params: $document_id
with

seen as (

    select run_id
    from pool_documents
    where document_id = $document_id
    union
    select run_id
    from decisions
    where document_id = $document_id

),

priced as (

    select run_id
    from prices
    where document_id = $document_id

),

all_runs as (

    select
        run_id,
        pool,
        started_at
    from runs

)

select
    all_runs.run_id,
    all_runs.pool,
    priced.run_id is not null as is_priced
from all_runs
inner join seen
    on all_runs.run_id = seen.run_id
left join priced
    on all_runs.run_id = priced.run_id
order by all_runs.started_at desc, all_runs.run_id desc
