-- Why rows of some files went to quarantine.
-- grain:  one row per reason
-- reads:  quarantine
-- params: $file_ids (list of file_id)
select
    reason,
    count(*) as rejected_rows,
    min_by(detail, row_number) as first_detail
from quarantine
where file_id in (select unnest($file_ids))
group by reason
order by rejected_rows desc, reason asc
