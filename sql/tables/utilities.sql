-- What an oracle said of documents, one by one; asked again, it is read from here.
-- grain: one row per oracle_id, document_id
create table if not exists utilities (
    oracle_id varchar not null, -- digest of all that decides a utility
    document_id varchar not null,
    utility double not null, -- larger is better
    primary key (oracle_id, document_id)
)
