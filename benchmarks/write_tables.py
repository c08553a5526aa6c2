"""Write docs/benchmarks.md from the results in benchmarks/results.

python -m benchmarks.write_tables
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]

_HEAD = """# Benchmarks

Written by `python -m benchmarks.write_tables` from `benchmarks/results`; do not edit.
`make bench` measures again and rewrites this page.

Machines are shared, so trust ratios, which are taken between neighbouring runs, and not seconds.
A cell is the median of all rounds, with the least and the most in brackets.
"""


def page(results: Sequence[dict[str, Any]]) -> str:
    """Return the whole page, results in the order given.

    Raises:
        ValueError: a result is of a kind that has no table.
    """
    tables = []
    for result in results:
        if result["kind"] not in _TABLES:
            raise ValueError(f"there is no table for results of kind {result['kind']!r}")
        tables.append(_TABLES[result["kind"]](result))
    return "\n".join([_HEAD, *tables])


def _clearing(result: dict[str, Any]) -> str:
    head = (
        f"## Clearing a market of {result['n_documents']:,} documents and "
        f"{result['n_signals']} signals in {result['n_topics']} topics\n\n"
        "From columns in memory to log prices of every document and the books of every topic; and "
        "the\nsame with the documents that a tenth of all tokens buys. The numpy twin is plain "
        "float64 in one\nthread, without the product's promise of the same bits for any number of "
        f"threads.\nEach run has a process of its own; {_made_by(result, 'rounds')}\n"
    )
    candidates = result["candidates"]
    ratios = [
        [
            name,
            *(_cell(found["ratios"][step]["wall"]) for step in _STEPS),
            *(_cell(found["ratios"][step]["cpu"]) for step in _STEPS),
            _cell(found["ratios"]["clear and select"]["peak"]),
            f"{found['largest_difference_of_log_price']:.1e}",
            f"{found['documents_bought_differently']:,} of {found['documents_bought']:,}",
        ]
        for name, found in candidates.items()
    ]
    seconds = [
        [
            name,
            *(_cell(found["steps"][step]["wall_seconds"]) for step in _STEPS),
            *(_cell(found["steps"][step]["cpu_seconds"]) for step in _STEPS),
            _megabytes(found["steps"]["clear and select"]["peak_bytes"]),
            _megabytes(found["bytes_above_input"]["clear and select"]),
        ]
        for name, found in candidates.items()
    ]
    floors = [
        [name, _cell(found["wall_seconds"]), _cell(found["cpu_seconds"])]
        for name, found in result["floors"].items()
    ]
    return "\n".join(
        [
            head,
            _table(
                [
                    "times the numpy twin",
                    "clear",
                    "clear and select",
                    "clear, CPU",
                    "clear and select, CPU",
                    "peak memory",
                    "log price differs at most by",
                    "bought differently",
                ],
                ratios,
            ),
            _table(
                [
                    "measured",
                    "clear, s",
                    "clear and select, s",
                    "clear, CPU s",
                    "clear and select, CPU s",
                    "peak, MB",
                    "above the input, MB",
                ],
                seconds,
            ),
            _table(["the floor", "s", "CPU s"], floors),
        ]
    )


def _command(result: dict[str, Any]) -> str:
    costs = result["costs"]
    cells = [
        f"`{result['shown']}`",
        _cell(costs["wall_seconds"]),
        _cell(costs["cpu_seconds"]),
        _megabytes(costs["peak_bytes"]),
    ]
    return (
        f"## Whole command: {result['name'].replace('_', ' ')}\n\n"
        f"Start of Python and all imports included; {_made_by(result, 'repeats')}\n\n"
        + _table(["command", "s", "CPU s", "peak of all processes, MB"], [cells])
    )


def _scoring(result: dict[str, Any]) -> str:
    model = result["model"]
    sizes = f"{model['layers']} layers of width {model['width']}"
    rows = [
        [
            name,
            _cell(found["times_as_fast"]),
            _cell(found["times_as_fast_by_cpu"]),
            f"{found['largest_difference_per_token']:.1e}",
            _cell(found["tokens_per_second"]),
            _cell(found["costs"]["cpu_seconds"]),
            _megabytes(found["bytes_above_model"]),
        ]
        for name, found in result["candidates"].items()
    ]
    return (
        f"## Token losses of {result['n_documents']:,} documents, {result['threads']} threads\n\n"
        f"{result['corpus']}, {result['n_tokens']:,} tokens, by a model of {sizes}, "
        f"{model['vocabulary']:,} tokens\nof vocabulary and "
        f"{model['context_tokens']} of context. The product computes entropies too.\n"
        f"Each run has a process of its own; {_made_by(result, 'rounds')}\n\n"
        + _table(
            [
                "scored by",
                "times as fast",
                "times as fast, CPU",
                "loss per token differs at most by",
                "tokens per s",
                "CPU s",
                "above the model, MB",
            ],
            rows,
        )
    )


def _planted_garbage(result: dict[str, Any]) -> str:
    model = result["model"]
    kinds = list(result["n_garbage"])
    planted = ", ".join(f"{kind} ({count:,})" for kind, count in result["n_garbage"].items())
    measured = [
        [f"`{name}`", *(f"{found[kind]['area']:.3f} ({found[kind]['rank']:.1%})" for kind in kinds)]
        for name, found in result["measures"].items()
    ]
    traded = [
        [f"`{name}`", *(f"{found[kind]['signal_rank']:.1%}" for kind in kinds)]
        for name, found in result["measures"].items()
    ]
    return (
        f"## Garbage planted into {result['corpus']}\n\n"
        f"{result['n_documents']:,} documents, some of which are turned into garbage as long as "
        f"they were:\n{planted}.\nOf pairs the completion alone is spoilt. Near deduplication, "
        "which would take some of it away, is off.\nThe reference model trains on the garbage too: "
        f"{model['layers']} layers of width {model['width']}, {model['vocabulary']:,} tokens of "
        f"vocabulary,\n{model['folds']} folds. The refresh took {result['cpu_seconds']:.0f} CPU s; "
        f"{_versions(result)}.\n\n    {result['command']}\n\n"
        "What is measured, before `prefer` or a bound turns it: the probability that garbage "
        "measures above a\nclean document, and in brackets its median percentile rank.\n\n"
        + _table(["measure of", *kinds], measured)
        + "\nThe median percentile rank by the signal as it is by default: the lower, the less is "
        "bought.\n\n" + _table(["signal", *kinds], traded)
    )


def _planted_leaks(result: dict[str, Any]) -> str:
    kinds = result["kinds"]
    recall = [
        [
            name,
            *(
                f"{each['found'] / each['leaks']:.3f} ({each['found']:,} of {each['leaks']:,})"
                for each in (found["recall"][kind] for kind in kinds)
            ),
        ]
        for name, found in result["rules"].items()
    ]
    pools = list(next(iter(result["rules"].values()))["pools"])
    dropped = [
        [
            name,
            *(
                f"{each['dropped'] / each['documents']:.2%} "
                f"({each['dropped']:,} of {each['documents']:,})"
                for each in (found["pools"][pool] for pool in pools)
            ),
            ", ".join(
                f"{reason.replace('_', ' ')} {count:,}"
                for reason, count in found["pools"][result["pool"]]["by_reason"].items()
            ),
        ]
        for name, found in result["rules"].items()
    ]
    defaults = ", ".join(f"{name} {value}" for name, value in result["defaults"].items())
    first = next(iter(result["rules"].values()))
    costs = (
        f"{first['cost']['cpu_seconds']:.2g} CPU s and {first['bytes_above_texts'] / 1e6:.3g} MB"
    )
    return (
        f"## Planted leaks of {result['set']}\n\n"
        f"{result['n_leaking']:,} of {result['n_examples']:,} test examples leak into "
        f"{result['pool']}, the prompt alone where there is one;\na leak is found if its document "
        "is dropped. Kinds are those of `databourse.decontamination.planted`.\n"
        f"{textwrap.fill(f'Defaults: {defaults}.', 100)}\n"
        f"{_versions(result)}.\n\n    {result['command']}\n\n"
        "Recall by kind:\n\n"
        + _table(["rule", *(kind.replace("_", " ") for kind in kinds)], recall)
        + "\nDropped of the pools as they are, without planted leaks: true leaks and false ones; "
        f"reasons are of\nthe set's own pool, which takes {costs} above its texts by default, "
        "warm-up included.\n\n"
        + _table(["rule", *(f"dropped of {pool}" for pool in pools), "by reason"], dropped)
    )


def _ingestion(result: dict[str, Any]) -> str:
    rows = [
        [
            name,
            *(_cell(found["times"][kind]) for kind in ("wall_seconds", "cpu_seconds")),
            _cell(found["times"]["peak_bytes"]),
            *(_cell(found["costs"][kind]) for kind in ("wall_seconds", "cpu_seconds")),
            _megabytes(found["costs"]["peak_bytes"]),
        ]
        for name, found in result["candidates"].items()
    ]
    return (
        f"## Reading {result['n_documents']:,} rows of JSON lines, {result['n_bytes'] / 1e6:.0f} "
        f"MB, {result['threads']} threads\n\n"
        "Ingestion gives every row its id and place, keeps texts and a ledger on disk, and "
        f"commits\n{result['batch_documents']:,} rows at a time; the others only read. Start of "
        f"Python and imports included.\n{_made_by(result, 'rounds')}\n\n"
        + _table(
            [
                "read by",
                "times the first",
                "times the first, CPU",
                "times the first, memory",
                "s",
                "CPU s",
                "peak of all processes, MB",
            ],
            rows,
        )
    )


def _density(result: dict[str, Any]) -> str:
    rows = [
        [
            f"`{name}`",
            way,
            _cell(times),
            _cell(found["cpu_seconds"]),
            _cell(found["exact_cpu_seconds"][way]),
            f"{found['relative_error']['median']:.1%}",
            f"{found['relative_error']['root_mean_square']:.1%}",
            f"{found['relative_error']['largest']:.1%}",
            f"{found['weight_ratio']:.3g} ({found['exact_weight_ratio']:.3g})",
        ]
        for name, found in result["presets"].items()
        for way, times in found["times_as_fast"].items()
    ]
    return (
        f"## Density of {result['n_documents']:,} documents of {result['dimensions']} "
        f"dimensions\n\nA sketch against the exact sum over all pairs, timed on "
        f"{result['n_exact']:,} documents and scaled up, both in one\nthread; errors are of these "
        f"documents. {_made_by(result, 'rounds')}\n\n"
        + _table(
            [
                "preset",
                "the exact way",
                "times as fast, CPU",
                "CPU s",
                "exact, CPU s",
                "median error",
                "rms error",
                "largest error",
                "largest over least weight (exact, of some)",
            ],
            rows,
        )
    )


def _facility_location(result: dict[str, Any]) -> str:
    n_chosen = f"{result['n_chosen']:,}"
    rows = [
        [
            name,
            _cell(found["times_whole_cpu"]),
            _cell(found["times_choose_cpu"]),
            f"{found['same_in_order']:,} of {n_chosen}",
            f"{found['same']:,} of {n_chosen}",
            f"{found['value_ratio']:.7f}",
            f"{found['largest_shortfall']:.1e}",
            _cell(found["cpu_seconds"]),
            _cell(found["wall_seconds"]),
            _megabytes(found["bytes_above_input"]),
        ]
        for name, found in result["candidates"].items()
    ]
    return (
        f"## Facility location: {n_chosen} of {result['n_documents']:,} documents of "
        f"{result['dimensions']} dimensions\n\n"
        "From vectors in memory to positions, at equal cost, one thread, lazy greedy. The packages "
        "are given\nthe matrix of max(0, cosine) that values every choice, made by numpy; choosing "
        "alone starts where\nsimilarities are there. apricot-select compiles anew at every call. A "
        "shortfall is what a step adds\nless than the best step there would have, in units of "
        "similarity: where it is rounding alone, another\norder is another choice among ties. The "
        "64 nearest do not see all that a document stands for.\nEach run has a process of its own, "
        f"a package's in its own environment;\n{_made_by(result, 'rounds')}\n\n"
        + _table(
            [
                "chosen by",
                "times the first, CPU",
                "choosing alone, CPU",
                "same in order",
                "same",
                "value over the first's",
                "largest shortfall",
                "CPU s",
                "s",
                "above the vectors, MB",
            ],
            rows,
        )
        + _reasons("not measured", result["missing"])
    )


def _gradients(result: dict[str, Any]) -> str:
    rows = [
        [
            name,
            f"{found['n_features']:,}",
            threads,
            _cell(measured["times_as_fast"]),
            _cell(measured["times_as_fast_by_cpu"]),
            _cell(measured["documents_per_second"]["hooks"]),
            _cell(measured["documents_per_second"]["loop"]),
            f"{found['largest_relative_difference']:.1e}",
        ]
        for name, found in result["projections"].items()
        for threads, measured in found["threads"].items()
    ]
    model = result["model"]
    return (
        f"## Projected gradients of {result['n_documents']:,} documents of {result['corpus']}, "
        f"{result['n_tokens']:,} tokens\n\n"
        f"By hooks, many documents at a time, against one backward pass for each, with the same "
        f"projection and\nthe same number of threads; {model['layers']} layers of width "
        f"{model['width']}, vocabulary {model['vocabulary']:,}. A dense projection is\ndrawn "
        "again for every document of the loop, once for a batch of the product.\n"
        f"{_made_by(result, 'rounds')}\n\n"
        + _table(
            [
                "projection",
                "features",
                "threads",
                "times as fast",
                "by CPU",
                "documents per s",
                "of the loop",
                "largest difference",
            ],
            rows,
        )
    )


def _dsir(result: dict[str, Any]) -> str:
    rows = [
        [
            name,
            _cell(found["times_cpu"]),
            _cell(found["cpu_seconds"]),
            _cell(found["documents_per_cpu_second"]),
            _megabytes(found["bytes_above_input"]),
            f"{found['spearman']:.2f}",
            f"{found['same_of_top_tenth']:.0%}",
            f"{found['largest_relative_difference_from_sha256']:.1e}",
        ]
        for name, found in result["candidates"].items()
    ]
    return (
        f"## DSIR: log weights of {result['n_documents']:,} documents of {result['corpus']}, "
        f"{result['n_targets']:,} targets\n\n"
        "Unsmoothed, as in the library data-selection. Rank correlation and the shared top tenth "
        "are with the\nfirst line, the relative difference with sha256, the library's hash: "
        "which n-grams share a bucket\nmatters. Each run has a process of its own; "
        f"{_made_by(result, 'rounds')}\n\n"
        + _table(
            [
                "by",
                "times the first, CPU",
                "CPU s",
                "documents per CPU s",
                "above the texts, MB",
                "rank correlation",
                "same top tenth",
                "difference to sha256",
            ],
            rows,
        )
        + _reasons("not measured", result["missing"])
    )


def _samplers(result: dict[str, Any]) -> str:
    shares = [f"{share:.0%}" for share in result["shares"]]
    rows = []
    for name, found in result["samplers"].items():
        by_share = {run["share"]: run for run in found["runs"]}
        runs = [by_share.get(share) for share in result["shares"]]
        rows.append(
            [
                f"`{name}`",
                *(f"{run['n_bought']:,}" if run else "-" for run in runs),
                *(_unspent(run) for run in runs),
                _cell(found["cpu_seconds"]),
                _cell(found["wall_seconds"]),
                _megabytes(found["bytes_above_bundle"]),
            ]
        )
    return (
        f"## Samplers on {result['name'].replace('_', ' ')}, "
        f"{result['n_documents']:,} documents\n\n"
        f"What each buys of {result['total_cost']:,} tokens with {', '.join(shares)} of them, and "
        "which share of that budget\nit leaves; seconds and memory are the median over these "
        "budgets, imports inside.\nEach run has a process of its own; "
        f"{_versions(result)}.\n\n    {result['command']}\n\n"
        + _table(
            [
                "sampler",
                *(f"documents at {share}" for share in shares),
                *(f"unspent at {share}" for share in shares),
                "CPU s",
                "s",
                "above the pool, MB",
            ],
            rows,
        )
        + _reasons("not run", result["not_run"])
        + _reasons("breaks a promise", result["broken"])
    )


def _manifest_reading(result: dict[str, Any]) -> str:
    rows = [
        [
            name,
            _cell(found["wall_seconds"]),
            _cell(found["cpu_seconds"]),
            f"{result['n_documents'] / found['cpu_seconds']['median']:,.0f}",
            _megabytes(found["peak_bytes"]),
        ]
        for name, found in result["ways"].items()
    ]
    return (
        f"## Reading a manifest of {result['n_documents']:,} documents\n\n"
        f"{result['bytes'] / 1e6:,.0f} MB of Parquet, {result['characters'] / 1e6:,.0f} MB of "
        "text. Iterating gives a dict of id, text, tokens and weight per\ndocument, in one "
        "process. Imports, and what `datasets` prepares before the first row, are not counted\n"
        "in seconds; peak memory has them. Each way has a process of its own, `datasets` in an "
        "environment of its\nown. "
        f"{_made_by(result, 'rounds')}\n\n"
        + _table(["way", "s", "CPU s", "documents per CPU s", "peak, MB"], rows)
    )


def _unspent(run: dict[str, Any] | None) -> str:
    if run is None or run["unspent_share"] is None:
        return "-"
    return f"{run['unspent_share']:.2%}"


def _reasons(what: str, reasons: dict[str, str]) -> str:
    rows = [[f"`{name}`", reason.replace("|", "\\|")] for name, reason in reasons.items()]
    return "\n" + _table([what, "because"], rows) if rows else ""


def _dedup(result: dict[str, Any]) -> str:
    bands = ("0.5", "0.6", "0.7", "0.8", "0.9", "1", "at least 0.8")
    rows = [
        [
            name,
            found["kind"],
            _cell(found["documents_per_cpu_second"]),
            _cell(found["times_slower"]),
            _megabytes(found["peak_bytes"]),
            f"{found['dropped']:,}",
            *(f"{found['recall'][band]:.4g}" if band in found["recall"] else "" for band in bands),
            f"{found['below_half']:,}",
            f"{found['below_threshold']:,}",
        ]
        for name, found in result["candidates"].items()
    ]
    days = [
        [
            day,
            f"{found['cpu_seconds']:.3g}",
            f"{found['wall_seconds']:.3g}",
            f"{found['peak_bytes'] / 1e6:.4g}",
            f"{found['dropped']:,}",
        ]
        for day, found in result["warehouse"].items()
    ]
    return (
        f"## Dedup: {result['n_documents']:,} documents of about 100 words\n\n"
        "Generated words; 5 % repeat a document, 15 % nearly repeat one at a Jaccard of word "
        "5-grams from 0.4\nto 0.98. From a Parquet file to pairs of ids, a whole process each, "
        "imports included, one thread, 128\npermutations. The product verifies from 0.8, in 21 "
        "bands of 6; the others do not verify, in 16 bands of 8.\nRecall is by the Jaccard from "
        "which a planted pair's tenth begins; below 0.8 nothing should be found.\nDropped "
        f"documents are held against their keeper by sets. {_made_by(result, 'rounds')}\n\n"
        + _table(
            [
                "by",
                "kind",
                "documents per CPU s",
                "times the product's CPU",
                "peak MB",
                "dropped",
                *(f"recall {band}" for band in bands),
                "keeper below 0.5",
                "keeper 0.5 to 0.8",
            ],
            rows,
        )
        + "\nNear dedup of a warehouse (texts in Parquet, sketches kept, memory limit 4 GB): the "
        "first day sees 99 % of\nthe documents, the second all of them.\n\n"
        + _table(["day", "CPU s", "wall s", "peak MB", "dropped"], days)
        + _reasons("not measured", result["missing"])
    )


def _known_groups(result: dict[str, Any]) -> str:
    rows = [
        [
            name,
            f"{run['documents']:,}",
            f"{run['documents'] - run['distinct']:,}",
            f"{run['dropped']:,}",
            f"{run['similar_pairs_of_groups']:,} of {run['pairs_of_groups']:,}",
            f"{run['thinned_pairs'] / max(run['similar_pairs_of_groups'], 1):.4g}",
            f"{run['dropped_for_similar'] / max(run['dropped'], 1):.4g}",
            f"{run['dropped_for_own_group'] / max(run['dropped'], 1):.3g}",
        ]
        for name, run in result["runs"].items()
    ]
    return (
        "## Near dedup of real texts with known groups\n\n"
        "Newswire articles with planted pairs, and instances of 17 data sets in up to 12 prompt "
        "templates each.\nRecall: pairs of a group with a true Jaccard of "
        f"{result['threshold']:g} or more of which at most one is left. Precision: dropped\n"
        "documents as similar as that to the one that stands for them; many stand for another "
        "instance about the\nsame text, which is why fewer are of the own group. "
        f"{_versions(result)}.\n\n    {result['command']}\n\n"
        + _table(
            [
                "texts",
                "documents",
                "equal",
                "dropped",
                "similar pairs",
                "recall",
                "precision",
                "of the own group",
            ],
            rows,
        )
    )


_STEPS = ("clear", "clear and select")
_TABLES = {
    "clearing": _clearing,
    "command": _command,
    "scoring": _scoring,
    "planted_garbage": _planted_garbage,
    "planted_leaks": _planted_leaks,
    "ingestion": _ingestion,
    "density": _density,
    "dsir": _dsir,
    "dedup": _dedup,
    "known_groups": _known_groups,
    "gradients": _gradients,
    "facility_location": _facility_location,
    "manifest_reading": _manifest_reading,
    "samplers": _samplers,
}


def _made_by(result: dict[str, Any], repeated: str) -> str:
    return f"{result[repeated]} {repeated}; {_versions(result)}.\n\n    {result['command']}"


def _versions(result: dict[str, Any]) -> str:
    return ", ".join(f"{name} {number}" for name, number in result["versions"].items())


def _cell(spread: dict[str, float]) -> str:
    numbers = (spread["median"], spread["least"], spread["most"])
    middle, least, most = (f"{number:.3g}" for number in numbers)
    return middle if least == most else f"{middle} ({least} to {most})"


def _megabytes(spread: dict[str, float]) -> str:
    return _cell({name: number / 1e6 for name, number in spread.items()})


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def main() -> None:
    """Read every result, in order of its file's name, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=_ROOT / "benchmarks" / "results")
    parser.add_argument("--page", type=Path, default=_ROOT / "docs" / "benchmarks.md")
    chosen = parser.parse_args()
    files = sorted(chosen.results.glob("*.json"))
    results = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    chosen.page.write_text(page(results), encoding="utf-8")


if __name__ == "__main__":
    main()
