-- What a language model says of a part of a document, summed over its tokens.
-- grain: one row per losses_id, part, document_id, prompt_characters
create table if not exists token_losses (
    losses_id varchar not null, -- model, windows, precision and revision
    part varchar not null, -- text, completion (alone), conditioned (completion after its prompt)
    document_id varchar not null,
    prompt_characters bigint not null, -- where the completion starts; 0 for the whole text
    tokens bigint not null,
    loss_sum double not null, -- nats
    entropy_sum double not null, -- nats
    primary key (losses_id, part, document_id, prompt_characters)
)
