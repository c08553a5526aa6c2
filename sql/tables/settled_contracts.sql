-- Documents on which an oracle has spoken, and what they paid.
-- grain: one row per settlement_id, document_id
create table if not exists settled_contracts (
    settlement_id varchar not null,
    document_id varchar not null,
    topic varchar not null,
    utility double not null, -- as the oracle gave it, larger is better
    weight double not null, -- documents of the pool that it stands for
    payoff double not null, -- share of all that was paid
    log_price double, -- in the market that was settled
    primary key (settlement_id, document_id)
)
