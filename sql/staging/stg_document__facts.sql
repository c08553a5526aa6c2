-- A document, whatever the runs made of it.
-- grain:  one row per document_id
-- reads:  documents
-- params: $document_id
select
    document_id,
    characters
from documents
where document_id = $document_id
