-- The scale on which a signal runs from -1 to 1 in its topic, so that sums can be fixed-point.
-- What varies by rounding alone is constant: its scale is 0, and so is every scaled value.
-- grain:  one row per topic_number
-- reads:  int_topics_ranged
-- params: $relative_noise (half range / largest magnitude, at most which a signal is constant),
--         $least_half_range (at most which it is constant too)
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

),

judged as (

    select
        topic_number,
        centre_k, -- per trader
        reach_k, -- per trader
        reach_k > greatest(noise_k, $least_half_range) as is_varied_k, -- per trader
        n_documents
    from halves

)

select
    topic_number,
    centre_k, -- per trader
    if(is_varied_k, reach_k, 0.0) as half_range_k, -- per trader
    if(is_varied_k, 1.0 / reach_k, 0.0) as scale_k, -- per trader
    n_documents
from judged
