-- The books of each topic's market maker in one run.
-- grain: one row per run_id, topic
create table if not exists topic_markets (
    run_id varchar not null,
    topic varchar not null,
    n_documents bigint not null,
    mass double not null, -- the topic's part of all prices
    liquidity double not null, -- LMSR b, in shares
    cost double not null, -- C(q): what traders have paid, in units of account
    worst_case_loss double not null, -- the most the maker can lose
    effective_sample_size double not null, -- 1 / sum of squared prices, in documents
    entropy double not null, -- of the prices within the topic, in nats
    primary key (run_id, topic)
)
