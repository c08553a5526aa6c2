-- Fails when several models have written after the prompt of a document. Every row is such a one.
-- reads: contract_rows
select
    document_id,
    count(distinct generations_id) as models
from contract_rows
group by document_id
having count(distinct generations_id) > 1
