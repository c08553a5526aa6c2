-- Documents that a refresh works with after exact dedup: one surviving arrival each.
-- grain: one row per run_id, document_id
create table if not exists pool_documents (
    run_id varchar not null,
    document_id varchar not null,
    source varchar not null,
    locator varchar not null, -- file and row, or package and qualified name
    label varchar,
    prompt_characters bigint,
    metadata json,
    tokens bigint not null,
    primary key (run_id, document_id)
)
