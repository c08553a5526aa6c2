-- Fails when a sum of losses or of entropies is NaN or infinite. Every row is a violation.
-- reads: contract_rows
select
    part || '/' || document_id as part_of_document,
    loss_sum,
    entropy_sum
from contract_rows
where
    not isfinite(loss_sum)
    or not isfinite(entropy_sum)
