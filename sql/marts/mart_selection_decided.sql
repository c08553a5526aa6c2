-- Candidates of this run as the budget decided on them: bought, or left and why.
-- grain:  one row per source, locator
-- reads:  mart_documents_ranked, selection_outcomes, pool_documents
-- params: $run_id
with

ranked as (

    select
        document_id,
        log_price_per_token
    from mart_documents_ranked

),

outcomes as (

    select
        document_id,
        is_selected,
        reason
    from selection_outcomes

),

documents as (

    select
        document_id,
        source,
        locator
    from pool_documents
    where run_id = $run_id

)

select
    $run_id as run_id,
    documents.locator,
    documents.source,
    documents.document_id,
    'budget' as stage,
    case when outcomes.is_selected then 'selected' else 'left' end as outcome,
    outcomes.reason,
    ranked.log_price_per_token as value
from documents
inner join ranked
    on documents.document_id = ranked.document_id
inner join outcomes
    on documents.document_id = outcomes.document_id
