"""Plant leaks of evaluation sets into real pools, and count what the rule of the product drops.

The sets are the test splits of GSM8K and AG News. Each is looked for in a pool of its own kind (the
train split of GSM8K, news items from the train side of AG News), where true leaks are to be
expected, and in the other pool, which cannot hold any. Leaks are those of
`databourse.decontamination.planted`; longer texts around them are two documents of the pool that
the rule leaves in. A leak is found if the document is dropped, for whichever example.

    python -m benchmarks.decontamination.planted_leaks
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import platform
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import cost_of, resident_bytes
from databourse.config_sources import DecontaminateConfig
from databourse.decontamination.overlap import Contamination, find_contaminated
from databourse.decontamination.planted import KINDS, drawn_examples, planted_leaks
from databourse.decontamination.protected import ProtectedText
from databourse.digests import canonical_text

RESULTS = Path(__file__).resolve().parents[1] / "results"
_ROOT = Path(__file__).resolve().parents[2]
_BATCH_DOCUMENTS = 1_000

Rule = Mapping[str, Any]

RULES: dict[str, Rule] = {
    "as it is by default": {},
    "without near matches": {"near_ngram": None},
    "8-grams alone": {"near_ngram": None, "long_ngram": None, "numbers": "kept"},
}


def gsm8k(split: str) -> list[ProtectedText]:
    """Return questions with their answers."""
    with gzip.open(_file(f"gsm8k/{split}.jsonl.gz"), "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    prompts = [canonical_text(row["question"]) + "\n" for row in rows]
    return [
        ProtectedText("GSM8K", f"{n:05d}", prompt + canonical_text(row["answer"]), len(prompt))
        for n, (prompt, row) in enumerate(zip(prompts, rows, strict=True))
    ]


def ag_news_test() -> list[ProtectedText]:
    """Return news items, title and description."""
    with gzip.open(_file("ag_news/test.csv.gz"), "rt", encoding="utf-8", newline="") as lines:
        rows = list(csv.reader(lines))
    return [
        ProtectedText("AG News", f"{n:05d}", canonical_text(f"{row[1]} {row[2]}"))
        for n, row in enumerate(rows)
    ]


def ag_news_pool() -> list[str]:
    """Return news items from the train side."""
    file = _file("ag_news_noisy/samples10000valMed.csv.gz")
    with gzip.open(file, "rt", encoding="utf-8", newline="") as lines:
        return [canonical_text(row["text"]) for row in csv.DictReader(lines)]


def measure(
    examples: Sequence[ProtectedText],
    pools: Mapping[str, Sequence[str]],
    *,
    home: str,
    at_most: int,
    seed: int,
) -> dict[str, Any]:
    """Return what each rule finds of planted leaks, and what it drops of pools without them.

    Args:
        examples: the evaluation set.
        pools: texts by the name of the pool.
        home: the pool of the set's own kind, into which leaks are planted.
        at_most: examples that leak.
        seed: draws them and their changes.
    """
    found: dict[str, Any] = {}
    for name, rule in RULES.items():
        before = resident_bytes()
        result, cost = cost_of(lambda rule=rule: _dropped(pools[home], examples, rule))
        dropped = {home: _summary(result, pools[home])}
        for other in pools.keys() - {home}:
            dropped[other] = _summary(_dropped(pools[other], examples, rule), pools[other])
        texts = _left(pools[home], result)
        leaks = _leaks(
            examples, texts, least_words=_defaults()["ngram"], at_most=at_most, seed=seed
        )
        recall = find_contaminated([], examples, leaks=leaks, **_arguments(rule)).recall
        found[name] = {
            "recall": {
                each.kind: {"leaks": each.n_leaks, "found": each.n_found} for each in recall
            },
            "pools": dropped,
            "cost": asdict(cost),
            "bytes_above_texts": max(0, cost.peak_bytes - before),
        }
    return {
        "kind": "planted_leaks",
        "set": examples[0].set_name,
        "n_examples": len(examples),
        "n_leaking": min(at_most, len(examples)),
        "pool": home,
        "kinds": list(KINDS),
        "seed": seed,
        "defaults": _defaults(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "pyarrow")},
        },
        "rules": found,
    }


def _file(name: str) -> Path:
    beside = _ROOT.parent / "shared" / "data"
    return Path(os.environ.get("DATABOURSE_DATA", beside)) / name


def _defaults() -> dict[str, Any]:
    return DecontaminateConfig().model_dump(
        mode="json", exclude={"against", "max_removed_share_per_source"}
    )


def _arguments(rule: Rule) -> dict[str, Any]:
    return {**_defaults(), **rule}


def _dropped(texts: Sequence[str], examples: Sequence[ProtectedText], rule: Rule) -> Contamination:
    return find_contaminated(_batches(texts), examples, **_arguments(rule))


def _batches(texts: Sequence[str]) -> Iterator[tuple[list[str], list[str]]]:
    for first in range(0, len(texts), _BATCH_DOCUMENTS):
        batch = list(texts[first : first + _BATCH_DOCUMENTS])
        yield [f"{first + n:09d}" for n in range(len(batch))], batch


def _summary(result: Contamination, texts: Sequence[str]) -> dict[str, Any]:
    reasons = Counter(result.documents["reason"].to_pylist())
    return {
        "documents": len(texts),
        "dropped": result.documents.num_rows,
        "by_reason": {reason: reasons[reason] for reason in sorted(reasons)},
    }


def _left(texts: Sequence[str], result: Contamination) -> list[str]:
    dropped = {int(each) for each in result.documents["document_id"].to_pylist()}
    return [text for place, text in enumerate(texts) if place not in dropped]


def _leaks(
    examples: Sequence[ProtectedText],
    around: Sequence[str],
    *,
    least_words: int,
    at_most: int,
    seed: int,
) -> list[Any]:
    rng = np.random.default_rng(seed)
    n_words = sum(len(each.text.split()) for each in examples)
    drawn = drawn_examples(examples, at_most=at_most, most_words=n_words, rng=rng)
    return planted_leaks(
        drawn,
        least_words=least_words,
        around=lambda n: (around[2 * n % len(around)], around[(2 * n + 1) % len(around)]),
        rng=rng,
    )


def main() -> None:
    """Measure both sets and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=1_000, help="that leak, of each set")
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    pools = {
        "GSM8K train": [each.text for each in gsm8k("train")],
        "AG News, train side": ag_news_pool(),
    }
    for examples, home in ((gsm8k("test"), "GSM8K train"), (ag_news_test(), "AG News, train side")):
        result = measure(examples, pools, home=home, at_most=chosen.examples, seed=chosen.seed)
        result["command"] = (
            "python -m benchmarks.decontamination.planted_leaks "
            f"--examples {chosen.examples} --seed {chosen.seed}"
        )
        chosen.results.mkdir(parents=True, exist_ok=True)
        name = f"planted_leaks_{result['set'].lower().replace(' ', '_')}.json"
        (chosen.results / name).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        for rule, found in result["rules"].items():
            shares = (f"{k} {v['found']}/{v['leaks']}" for k, v in found["recall"].items())
            print(f"{result['set']}, {rule}: {', '.join(shares)}; {found['pools']}", flush=True)


if __name__ == "__main__":
    main()
