-- What a language model wrote after the prompt of each document, and what of it means the same.
-- grain: one row per generations_id, document_id, prompt_characters
create table if not exists generations (
    generations_id varchar not null, -- model, sampling, judge of meaning and revision
    document_id varchar not null,
    prompt_characters bigint not null, -- where the prompt ends; 0: the whole text is the prompt
    texts varchar[] not null,
    log_likelihoods double[] not null, -- mean per token, nats
    meanings bigint[] not null, -- equal numbers mean the same
    primary key (generations_id, document_id, prompt_characters)
)
