-- Every candidate in the order in which a budget buys, with what each trader adds to its log price.
-- Ties go to the shorter document, then to the smaller document_id.
-- grain: one row per document_id
-- reads: int_documents_priced, int_orders_placed
with

prices as (

    select
        document_id,
        topic,
        tokens,
        shares,
        liquidity,
        log_price,
        log_price_per_token
    from int_documents_priced

),

orders as (

    select
        document_id,
        trader,
        cast(ordered_shares as double) as ordered_shares
    from int_orders_placed

),

contributions as (

    select
        prices.document_id,
        map_from_entries(
            list_sort(list(row(orders.trader, orders.ordered_shares / prices.liquidity)))
        ) as contributions
    from prices
    inner join orders
        on prices.document_id = orders.document_id
    group by prices.document_id

)

select
    prices.document_id,
    prices.topic,
    prices.tokens,
    prices.shares,
    prices.log_price,
    prices.log_price_per_token,
    row_number() over (
        order by
            prices.log_price_per_token desc,
            prices.tokens asc,
            prices.document_id asc
    ) as price_rank,
    contributions.contributions
from prices
inner join contributions
    on prices.document_id = contributions.document_id
order by price_rank asc
