-- Rows that came in and could not be read, with the reason.
-- grain: one row per file_id, row_number
create table if not exists quarantine (
    file_id varchar not null,
    row_number bigint not null, -- 0-based within the file
    place varchar not null, -- what follows the uri in a locator, such as #12
    reason varchar not null,
    detail varchar not null,
    excerpt varchar not null, -- at most 200 characters of what came
    primary key (file_id, row_number)
)
