-- What the market of one run was cleared and spent with.
-- grain: one row per run_id
create table if not exists selections (
    run_id varchar primary key,
    snapshot_id varchar not null,
    topics_id varchar not null,
    tokenizer_id varchar not null,
    encoder_id varchar not null,
    board_id varchar not null, -- file of the signals that were traded, under boards/
    signal_ids varchar[] not null,
    length_bias double not null,
    budget_kind varchar not null, -- tokens, documents, share
    limit_cost bigint not null, -- most tokens; most documents where the budget counts documents
    marginal_log_price_per_token double, -- of the last document bought outside any floor
    tokens bigint not null, -- spent
    documents bigint not null -- bought
)
