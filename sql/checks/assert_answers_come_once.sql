-- Fails when a document was answered about more than once. Every row is such a document.
-- reads: contract_rows
select
    document_id,
    count(*) as answers
from contract_rows
where failure is null
group by document_id
having count(*) > 1
