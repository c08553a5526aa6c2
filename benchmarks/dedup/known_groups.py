"""Near dedup of real texts whose groups are known: how many are found, and what else is dropped.

`minhash_articles` are newswire articles with planted near-duplicates and a list of the pairs.
`T0 prompts` are instances of question answering data sets, each written down by several prompt
templates: row i of every full file of a data set is the same instance. Templates differ by more
than the threshold allows where the instance is short, so recall is counted over the pairs of a
group whose true Jaccard similarity of 5-word shingles is 0.8 or more, all pairs being computed; and
since one context is asked about in many instances, a pair of two groups is no mistake if it is as
similar: precision is counted over pairs of a dropped document and the one that stands for it.
Equal texts are dropped before.

    python -m benchmarks.dedup.known_groups
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import os
import platform
from collections import defaultdict
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from databourse.dedup.near import find_near_duplicates
from databourse.dedup.shingles import jaccard, shingle_sets
from databourse.digests import canonical_text

RESULTS = Path(__file__).resolve().parents[1] / "results"
_ROOT = Path(__file__).resolve().parents[2]
_THRESHOLD = 0.8
_ROWS_OF_A_FULL_FILE = 200
_TWO_PART_NAMES = ("adversarial_qa", "duorc")  # three and two data sets by the next part of a name
_DATA_SETS = (
    "adversarial_qa", "ag_news", "common_gen", "commonsense_qa", "cosmos_qa", "dbpedia_14", "duorc",
    "kilt_tasks", "paws_labeled", "qasc", "quarel", "quartz", "quoref", "ropes", "sciq", "wiki_bio",
    "wiki_hop",
)  # fmt: skip


def articles(size: int) -> tuple[dict[str, str], dict[str, str]]:
    """Return texts by id, and the group of each: planted pairs share one, others are alone."""
    folder = _data() / "dedup" / "minhash_articles"
    plain = folder / f"articles_{size}.train"
    file = plain if plain.is_file() else plain.with_name(plain.name + ".gz")
    raw = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    texts = dict(line.split(" ", 1) for line in raw.decode().splitlines())
    group = {key: key for key in texts}
    for line in (folder / f"articles_{size}.truth").read_text(encoding="utf-8").splitlines():
        one, other = line.split()
        group[other] = one
    return texts, group


def prompts() -> tuple[dict[str, str], dict[str, str]]:
    """Return prompts with completions by file and row, and the group of those in full files."""
    texts: dict[str, str] = {}
    group: dict[str, str] = {}
    for file in sorted((_data() / "instruct" / "t0_train_50k").glob("*.jsonl.gz")):
        name = file.name.removesuffix(".jsonl.gz")
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        data_set = next(each for each in _DATA_SETS if name.startswith(each))
        if data_set in _TWO_PART_NAMES:
            data_set += name.removeprefix(data_set).split("_")[1]
        for number, row in enumerate(rows):
            key = f"{name}#{number}"
            texts[key] = canonical_text(f"{row['prompt']}\n{row['completion']}")
            if len(rows) == _ROWS_OF_A_FULL_FILE:
                group[key] = f"{data_set}#{number}"
    return texts, group


def measured(texts: Mapping[str, str], group: Mapping[str, str]) -> dict[str, float]:
    """Return counts, recall and precision of near dedup over texts with known groups."""
    first: dict[str, str] = {}
    for key, text in texts.items():
        first.setdefault(text, key)
    distinct = {key: text for text, key in first.items()}
    ids = sorted(distinct)
    sets = shingle_sets([distinct[each] for each in ids], ngram=5)
    own = {each: sets.of(n) for n, each in enumerate(ids)}
    found = find_near_duplicates(
        [(ids, [distinct[each] for each in ids])],
        threshold=_THRESHOLD,
        rng=np.random.default_rng(0),
    ).duplicates
    stands = dict(
        zip(found["document_id"].to_pylist(), found["representative_id"].to_pylist(), strict=True)
    )
    pairs = list(_pairs(ids, group))
    alike = [pair for pair in pairs if jaccard(own[pair[0]], own[pair[1]]) >= _THRESHOLD]
    together = [pair for pair in alike if _is_thinned(pair, stands)]
    of_group = [pair for pair in stands.items() if group.get(pair[0]) == group.get(pair[1], "")]
    similar = [pair for pair in stands.items() if jaccard(own[pair[0]], own[pair[1]]) >= _THRESHOLD]
    return {
        "documents": len(texts),
        "distinct": len(ids),
        "pairs_of_groups": len(pairs),
        "similar_pairs_of_groups": len(alike),
        "thinned_pairs": len(together),
        "dropped": len(stands),
        "dropped_for_own_group": len(of_group),
        "dropped_for_similar": len(similar),
    }


def _pairs(ids: list[str], group: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    members: dict[str, list[str]] = defaultdict(list)
    for each in ids:
        if each in group:
            members[group[each]].append(each)
    for own in members.values():
        yield from itertools.combinations(own, 2)


def _is_thinned(pair: tuple[str, str], stands: Mapping[str, str]) -> bool:
    """Return whether at most one of two is left."""
    return pair[0] in stands or pair[1] in stands


def _data() -> Path:
    given = os.environ.get("DATABOURSE_DATA")
    return Path(given) if given else _ROOT.parent / "shared" / "data"


def main() -> None:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    chosen = parser.parse_args()
    runs: dict[str, dict[str, Any]] = {
        f"minhash_articles, {size:,}": measured(*articles(size)) for size in (100, 1_000, 2_500)
    }
    runs["T0 prompts"] = measured(*prompts())
    result = {
        "kind": "known_groups",
        "command": "python -m benchmarks.dedup.known_groups",
        "threshold": _THRESHOLD,
        "runs": runs,
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("numpy", "numba", "pyarrow")},
    }
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "known_groups.json").write_text(json.dumps(result, indent=1) + "\n")
    for name, run in runs.items():
        print(name, run)


if __name__ == "__main__":
    main()
