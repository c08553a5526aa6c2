-- Settlements of a pool's market: who spoke, what the traders earned, how good the prices were.
-- grain: one row per settlement_id
create table if not exists settlements (
    settlement_id varchar primary key, -- digest of contracts, utilities and rules
    pool varchar not null,
    run_id varchar not null, -- that settled
    refresh_run_id varchar not null, -- whose market was settled
    settled_at timestamp not null,
    oracle varchar not null,
    oracle_id varchar not null, -- digest of all that decides a utility
    weights varchar not null, -- wealth or regression: what the next refresh uses
    liquidity double, -- LMSR b that the contracts bore; null where no trader beat the fee
    documents bigint not null, -- of the market
    contracts bigint not null, -- settled
    unjudged bigint not null, -- documents that the oracle was asked about in vain
    record json not null -- the whole report
)
