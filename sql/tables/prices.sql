-- What the market of one run said about every candidate document.
-- grain: one row per run_id, document_id
create table if not exists prices (
    run_id varchar not null,
    document_id varchar not null,
    topic varchar not null,
    tokens bigint not null,
    shares double not null, -- q: standing orders of all traders
    log_price double not null, -- natural log of the global price, topic mass included
    log_price_per_token double not null, -- log_price - length_bias * ln(tokens)
    price_rank bigint not null, -- 1 = dearest per token
    is_selected boolean not null,
    weight double not null, -- of the document in training; 1 unless it was sampled
    inclusion_probability double, -- of a sampled document: that it is drawn; else null
    contributions map (varchar, double) not null, -- trader -> its part of the log price
    primary key (run_id, document_id)
)
