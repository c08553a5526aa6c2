-- The scale on which a signal runs from -1 to 1 in its topic, so that sums can be fixed-point.
-- An infinite half range makes every value 0: what varies by rounding alone is constant.
-- grain:  one row per topic_number
-- reads:  int_topics_ranged
-- params: $relative_noise (half range / largest magnitude, at most which a signal is constant)
with

-- Halves first: the difference of two doubles can overflow, that of their halves cannot.
halves as (

    select
        topic_number,
        0.5 * low_k + 0.5 * high_k as centre_k, -- per trader
        0.5 * high_k - 0.5 * low_k as reach_k, -- per trader
        $relative_noise * greatest(abs(low_k), abs(high_k)) as noise_k, -- per trader
        n_documents
    from int_topics_ranged

)

select
    topic_number,
    centre_k, -- per trader
    if(reach_k > noise_k, reach_k, cast('inf' as double)) as half_range_k, -- per trader
    n_documents
from halves
