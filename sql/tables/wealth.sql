-- What each trader owns after a settlement, and how it earned it.
-- grain: one row per settlement_id, trader
create table if not exists wealth (
    settlement_id varchar not null,
    trader varchar not null,
    wealth_before double not null,
    wealth double not null, -- >= 0, sums to 1 over the traders
    orders double not null, -- nats per spread
    lone_log_score double not null, -- nats, if it alone had traded
    marginal_log_score double not null, -- nats that the market would lose without it
    fitted_weight double, -- by non-negative regression; null where nothing rises with utility
    fitted_spread double, -- its standard deviation over bootstrap samples
    primary key (settlement_id, trader)
)
