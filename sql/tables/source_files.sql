-- The checkpoint of ingestion: a file is known by its bytes and by how it is read.
-- grain: one row per file_id
create table if not exists source_files (
    file_id varchar primary key, -- digest of the file's sha256 and of the source's parse settings
    sha256 varchar not null,
    bytes bigint not null,
    read_rows bigint not null, -- rows read so far, good and rejected
    is_complete boolean not null
)
