-- Layouts that this warehouse went through; the largest is the present one.
-- grain: one row per schema_version
create table if not exists schema_versions (
    schema_version integer primary key
)
