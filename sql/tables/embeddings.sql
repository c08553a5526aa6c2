-- Unit-norm vectors of documents under an encoder.
-- grain: one row per document_id, encoder_id
create table if not exists embeddings (
    document_id varchar not null,
    encoder_id varchar not null,
    vector float[] not null,
    primary key (document_id, encoder_id)
)
