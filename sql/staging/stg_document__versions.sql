-- Published versions of a pool that hold a document.
-- grain:  one row per version
-- reads:  manifests, prices
-- params: $pool, $document_id
with

versions as (

    select
        version,
        manifest_id,
        run_id,
        status,
        published_at
    from manifests
    where pool = $pool

),

bought as (

    select
        run_id,
        price_rank
    from prices
    where
        document_id = $document_id
        and is_selected

)

select
    versions.version,
    versions.manifest_id,
    versions.run_id,
    versions.status,
    versions.published_at,
    bought.price_rank
from versions
inner join bought
    on versions.run_id = bought.run_id
order by versions.version
