-- Length of each document in the tokens of one tokenizer.
-- grain: one row per document_id, tokenizer_id
create table if not exists token_counts (
    document_id varchar not null,
    tokenizer_id varchar not null,
    tokens bigint not null,
    primary key (document_id, tokenizer_id)
)
