-- Rows that came in and became a document. The same document may arrive many times.
-- grain: one row per file_id, row_number
create table if not exists arrivals (
    file_id varchar not null,
    row_number bigint not null, -- 0-based within the file
    place varchar not null, -- what follows the uri in a locator, such as #12
    document_id varchar not null,
    label varchar,
    prompt_characters bigint, -- where the completion starts, for prompt/completion pairs
    metadata json,
    primary key (file_id, row_number)
)
