-- Size of each topic and its largest holding, from which its prices are measured.
-- grain:  one row per topic
-- reads:  int_documents_held
select
    topic,
    count(*) as n_documents,
    max(shares) as top_shares
from int_documents_held
group by topic
