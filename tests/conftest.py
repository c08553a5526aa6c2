"""Fixtures of the whole suite: a small labelled pool with real trouble in it; real data."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import settings

settings.register_profile("databourse", derandomize=True, deadline=None)
settings.load_profile("databourse")

_THEMES = {
    "weather": "rain wind storm cloud sun frost snow heat flood drought thunder breeze hail mist",
    "markets": "share bond price trader profit loss bank fund rate yield stock broker index debt",
    "kitchen": "bread oven salt knife soup onion butter flour pepper sauce pan dough spice plate",
    "sailing": "mast sail rope anchor tide harbour keel crew rudder deck wave compass hull port",
}
_COMMON = ("the", "a", "of", "near", "under", "with", "over", "before", "after", "while")


def _sentence(rng, words, length):
    return " ".join(
        str(rng.choice(_COMMON)) if rng.random() < 0.35 else str(rng.choice(words))
        for _ in range(length)
    )


def make_rows(n_documents, seed=0):
    """Return rows {text, label, number}: four themes, 6 to 60 words, 5 % wrong labels."""
    rng = np.random.default_rng(seed)
    themes = list(_THEMES)
    rows = []
    for number in range(n_documents):
        theme = themes[number % len(themes)]
        words = _THEMES[theme].split()
        length = int(rng.integers(6, 60))
        label = str(rng.choice(themes)) if rng.random() < 0.05 else theme
        rows.append({"text": _sentence(rng, words, length), "label": label, "number": number})
    return rows


def with_trouble(rows):
    """Return rows and lines that a pool really meets: copies, near copies, broken lines."""
    lines = [json.dumps(row) for row in rows]
    # exact copies under another label, then near copies of the longest
    lines += [json.dumps({**row, "label": "zebra"}) for row in rows[:5]]
    longest = sorted(rows, key=lambda row: (-len(row["text"]), row["text"]))[:4]
    lines += [json.dumps({**row, "text": row["text"] + " again"}) for row in longest]
    return [*lines, '{"text": broken', '{"text": "   ", "label": "weather", "number": -1}']


@pytest.fixture
def pool_lines():
    """Return a function that gives the lines of a pool: rows, copies, near copies, broken lines."""
    return lambda n_documents=160, seed=0: with_trouble(make_rows(n_documents, seed))


@pytest.fixture(scope="session")
def write_pool():
    """Return a function that writes a pool of 160 documents; it gives the path of the config."""

    def write(root, pool="tiny", lines=None, files=2, **changes):
        data = root / "data"
        data.mkdir(parents=True, exist_ok=True)
        lines = with_trouble(make_rows(160)) if lines is None else lines
        for index in range(files):
            (data / f"part-{index}.jsonl").write_text("\n".join(lines[index::files]) + "\n")
        config = {
            "pool": pool,
            "seed": 17,
            "sources": [
                {"name": "rows", "path": "data/*.jsonl", "text": "{text}", "label": "label"}
            ],
            "encoder": "hashing",
            "topics": {"count": 4, "smallest": 5},
            "signals": ["uncertainty", "rarity", "diversity", "neighbour_agreement", "length"],
            "budget": {"tokens": 900},
            "compute": {"threads": 1, "memory_limit": "500MB", "batch_documents": 40},
            **changes,
        }
        path = root / "pool.yaml"
        path.write_text(yaml.safe_dump(config))
        return path

    return write


@pytest.fixture
def small_pool(tmp_path, write_pool):
    """Return a function that writes such a pool into a folder of the test."""
    return lambda folder=".", **settings: write_pool(tmp_path / folder, **settings)


@pytest.fixture(scope="session")
def data_folder():
    """Return the folder of real data sets, or skip."""
    folder = Path(os.environ.get("DATABOURSE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (folder / "DATA.md").is_file():
        pytest.skip(f"no real data sets at {folder}; set DATABOURSE_DATA to their folder")
    return folder
