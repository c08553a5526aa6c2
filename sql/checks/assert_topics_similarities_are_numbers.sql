-- Fails when a similarity is NaN. Every row is a violation.
-- reads: contract_rows
select
    document_id,
    similarity
from contract_rows
where isnan(similarity)
