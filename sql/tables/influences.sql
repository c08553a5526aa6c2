-- Influence of documents on the targets, measured one by one where somebody asked for it.
-- grain: one row per influence_id, document_id
create table if not exists influences (
    influence_id varchar not null, -- digest of models, targets and settings
    document_id varchar not null,
    influence double not null, -- per document, larger is better: what it takes off target loss
    primary key (influence_id, document_id)
)
