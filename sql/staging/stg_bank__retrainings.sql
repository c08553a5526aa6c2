-- What is stored of the models of a bank.
-- grain:  one row per training
-- reads:  retrainings
-- params: $bank_id
select
    training,
    losses,
    digest
from retrainings
where bank_id = $bank_id
order by training
