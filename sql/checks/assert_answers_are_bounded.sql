-- Fails when a bound is NaN, or a lower one is above the upper one. Every row is a violation.
-- reads: contract_rows
select
    document_id,
    log_p_yes_low,
    log_p_yes_high,
    log_p_no_low,
    log_p_no_high
from contract_rows
where
    isnan(log_p_yes_low)
    or isnan(log_p_yes_high)
    or isnan(log_p_no_low)
    or isnan(log_p_no_high)
    or log_p_yes_low > log_p_yes_high
    or log_p_no_low > log_p_no_high
