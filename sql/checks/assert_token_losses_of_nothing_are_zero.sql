-- Fails when a part without a token has a loss or an entropy. Every row is a violation.
-- reads: contract_rows
select
    part || '/' || document_id as part_of_document,
    loss_sum,
    entropy_sum
from contract_rows
where
    tokens = 0
    and (
        loss_sum != 0
        or entropy_sum != 0
    )
