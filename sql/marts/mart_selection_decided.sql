-- Candidates of this run as the budget decided on them: bought, or left and why.
-- grain:  one row per source, locator
-- reads:  selection_outcomes, pool_documents
-- params: $run_id
with

outcomes as (

    select
        document_id,
        is_selected,
        reason,
        log_price_per_token
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
    if(outcomes.is_selected, 'selected', 'left') as outcome,
    outcomes.reason,
    outcomes.log_price_per_token as value
from documents
inner join outcomes
    on documents.document_id = outcomes.document_id
