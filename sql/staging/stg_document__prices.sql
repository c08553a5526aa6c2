-- Price of a document in a run, with its topic and the books of its topic's maker.
-- Books are null for a run of an older databourse, which did not keep them.
-- grain:  one row per document_id
-- reads:  prices, topic_markets, topics
-- params: $run_id, $document_id, $topics_id (null: unknown)
with

priced as (

    select
        run_id,
        document_id,
        topic,
        tokens,
        shares,
        log_price,
        log_price_per_token,
        price_rank,
        is_selected,
        weight,
        inclusion_probability,
        contributions
    from prices
    where
        run_id = $run_id
        and document_id = $document_id

),

books as (

    select
        topic,
        n_documents,
        mass,
        liquidity,
        effective_sample_size
    from topic_markets
    where run_id = $run_id

),

document_topics as (

    select
        document_id,
        similarity
    from topics
    where
        topics_id = $topics_id
        and document_id = $document_id

)

select
    priced.document_id,
    priced.topic,
    books.n_documents,
    books.mass,
    books.liquidity,
    books.effective_sample_size,
    document_topics.similarity,
    priced.tokens,
    priced.shares,
    priced.log_price,
    priced.log_price_per_token,
    priced.price_rank,
    priced.is_selected,
    priced.weight,
    priced.inclusion_probability,
    priced.contributions
from priced
left join books
    on priced.topic = books.topic
left join document_topics
    on priced.document_id = document_topics.document_id
