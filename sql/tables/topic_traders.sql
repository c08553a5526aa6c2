-- How each trader's signal became orders in each topic of one run.
-- grain: one row per run_id, topic, trader
create table if not exists topic_traders (
    run_id varchar not null,
    topic varchar not null,
    trader varchar not null,
    mean double not null, -- of the raw signal over the topic
    spread double not null, -- population standard deviation; 0 where the signal is constant
    shares_per_spread double not null, -- shares bought of a document one spread above the mean
    primary key (run_id, topic, trader)
)
