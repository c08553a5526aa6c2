-- How a raw signal becomes a z-score in its topic: ((s - centre) scale - mean) / spread.
-- It is 0 where the spread is 0, as the signal is constant.
-- grain: one row per topic_number
-- reads: int_topics_scaled, int_topics_centred, int_topics_spread
select
    scaled.topic_number,
    scaled.centre_k, -- per trader
    scaled.half_range_k, -- per trader
    scaled.scale_k, -- per trader
    centred.mean_k, -- per trader
    spreads.spread_k, -- per trader
    scaled.n_documents
from int_topics_scaled as scaled
inner join int_topics_centred as centred
    on scaled.topic_number = centred.topic_number
inner join int_topics_spread as spreads
    on scaled.topic_number = spreads.topic_number
