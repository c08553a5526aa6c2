-- Shares of each document that traders hold after all orders: q, an exact sum.
-- grain:  one row per document_id
-- reads:  int_orders_placed, stg_pool__documents
with

orders as (

    select
        document_id,
        ordered_shares
    from int_orders_placed

),

documents as (

    select
        document_id,
        topic
    from stg_pool__documents

),

holdings as (

    select
        document_id,
        cast(sum(ordered_shares) as double) as shares
    from orders
    group by document_id

)

select
    holdings.document_id,
    documents.topic,
    holdings.shares
from holdings
inner join documents
    on holdings.document_id = documents.document_id
