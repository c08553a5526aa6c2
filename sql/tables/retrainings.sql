-- What models retrained on subsets of a pool said of examples; written as each was trained.
-- grain: one row per bank_id, training
create table if not exists retrainings (
    bank_id varchar not null, -- digest of documents, examples, proxy and share
    training varchar not null, -- digest of the subset, and the seed
    losses double[] not null, -- of each example, nats, in the order of the bank
    seconds double not null,
    digest varchar not null, -- sha256 of the losses
    primary key (bank_id, training)
)
