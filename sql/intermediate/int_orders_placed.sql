-- Orders: trader k buys w_k z_k shares of each document, in whole units of 1e-12 shares.
-- grain:  one row per document_id, trader
-- reads:  int_signals_standardised, stg_market__traders
with

signals as (

    select
        document_id,
        trader,
        standardised_value
    from int_signals_standardised

),

traders as (

    select
        trader,
        weight
    from stg_market__traders

)

select
    signals.document_id,
    signals.trader,
    cast(signals.standardised_value * traders.weight as decimal(38, 12)) as ordered_shares
from signals
inner join traders
    on signals.trader = traders.trader
