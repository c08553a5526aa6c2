-- Fails when several models have read the same part of a document. Every row is such a part.
-- reads: contract_rows
select
    part || '/' || document_id as part_of_document,
    count(distinct losses_id) as models
from contract_rows
group by
    part,
    document_id
having count(distinct losses_id) > 1
