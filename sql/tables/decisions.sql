-- The ledger: what became of every row that came in, and why. Exactly one row per arrival and run.
-- grain: one row per run_id, source, locator
create table if not exists decisions (
    run_id varchar not null,
    locator varchar not null, -- file and row, or package and qualified name
    source varchar not null,
    document_id varchar, -- null for a quarantined row: it never became a document
    stage varchar not null,
    outcome varchar not null, -- quarantined, dropped, selected, left
    reason varchar not null,
    representative_id varchar, -- for duplicates: the document that stands for this one
    value double, -- similarity for duplicates, log price per token for priced documents
    primary key (run_id, source, locator)
)
