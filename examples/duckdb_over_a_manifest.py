"""Questions to a manifest in SQL: the files are plain Parquet.

python examples/duckdb_over_a_manifest.py MANIFEST
"""

from __future__ import annotations

import sys

import duckdb

import databourse

BY_TOPIC = """
select
    topic,
    count(*) as documents,
    sum(tokens)::bigint as tokens,
    arg_max(document_id, log_price_per_token) as dearest
from read_parquet($files)
group by topic
order by tokens desc, topic
"""


def main(location: str) -> None:
    """Print what was bought by topic."""
    manifest = databourse.open_manifest(location)
    manifest.verify()
    files = [f"{manifest.location}/{shard.name}" for shard in manifest.info.shards]
    rows = duckdb.execute(BY_TOPIC, {"files": files}).fetchall()
    for topic, documents, tokens, dearest in rows:
        print(f"{topic}: {documents} documents, {tokens} tokens, the dearest is {dearest}")
    print(f"{sum(row[2] for row in rows)} of {manifest.info.spent.tokens} tokens")


if __name__ == "__main__":
    main(*sys.argv[1:])
