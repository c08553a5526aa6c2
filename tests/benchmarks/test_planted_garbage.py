"""Planted garbage is as long as what it replaces, and its place in the pool is counted right."""

import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

TEXT = "The quick  brown fox\njumps over the lazy dog, twice; then it sleeps for 12 hours."


@pytest.fixture(scope="module")
def modules():
    """Return the modules of the benchmark, which import others of the benchmarks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(Path(__file__).parents[2]), *sys.path])
        from benchmarks.language_models import garbage, planted_garbage

        yield garbage, planted_garbage


@pytest.fixture
def garbage(modules):
    """Return the makers of garbage."""
    return modules[0]


@pytest.fixture
def planted_garbage(modules):
    """Return the benchmark."""
    return modules[1]


def pool(garbage, n):
    """Return clean pairs."""
    return [garbage.Document(f"What is {i}?\n", f"It is {i} of them, as told.") for i in range(n)]


@pytest.mark.parametrize("kind", ["shuffled words", "repeated phrase", "random characters"])
@pytest.mark.parametrize("text", [TEXT, "one", "two words", "x" * 300, "a b c d e f g " * 40 + "h"])
def test_garbage_is_as_long_as_its_text_and_keeps_its_length_when_it_is_stored(garbage, kind, text):
    from databourse.digests import canonical_text

    for seed in range(20):
        spoilt = garbage.KINDS[kind](text, np.random.default_rng(seed))
        assert len(spoilt) == len(text)
        assert canonical_text(spoilt) == spoilt


def test_shuffled_words_are_the_same_words_and_the_space_stays(garbage):
    spoilt = garbage.shuffled_words(TEXT, np.random.default_rng(3))
    assert spoilt.split() != TEXT.split()
    assert Counter(spoilt.split()) == Counter(TEXT.split())
    assert re.findall(r"\s+", spoilt) == re.findall(r"\s+", TEXT)


def test_a_repeated_phrase_is_3_to_6_neighbours_of_the_text_over_and_over(garbage):
    words = TEXT.split()
    seen = set()
    for seed in range(100):
        text = " ".join(words * 5)
        spoilt = garbage.repeated_phrase(text, np.random.default_rng(seed)).split()[:-1]  # cut off
        period = next(p for p in range(1, 20) if spoilt[p:] == spoilt[:-p])
        seen.add(period)
        assert " ".join(spoilt[:period]) in text
    assert seen == {3, 4, 5, 6}


def test_random_characters_are_printed_and_use_the_whole_of_latin_1(garbage):
    spoilt = garbage.random_characters("x" * 20_000, np.random.default_rng(0))
    assert spoilt.isprintable()
    assert not re.search(r"\s", spoilt)
    assert len(set(spoilt)) == 94 + 94  # "!" to "~", and U+00A1 to U+00FF but for the soft hyphen
    assert max(map(ord, spoilt)) == 0xFF


def test_each_kind_takes_its_share_and_spoils_completions_alone(garbage):
    clean = pool(garbage, 200)
    planted = garbage.plant(clean, np.random.default_rng(5), share=0.05)
    kinds = Counter(each.kind for each in planted)
    assert kinds == {garbage.CLEAN: 170, **dict.fromkeys(garbage.KINDS, 10)}
    for before, after in zip(clean, planted, strict=True):
        assert after.prompt == before.prompt
        assert (after == before) == (after.kind == garbage.CLEAN)
        assert len(after.completion) == len(before.completion)


def test_the_seed_decides_what_is_planted(garbage):
    clean = pool(garbage, 100)
    one, again, other = (
        garbage.plant(clean, np.random.default_rng(seed), share=0.05) for seed in (5, 5, 6)
    )
    assert one == again
    assert one != other


def test_the_area_counts_pairs(planted_garbage):
    area_above = planted_garbage.area_above
    # 3 is above 1 and 2 and ties with 3; 0 is above none: (1 + 1 + 1/2) / 6
    assert area_above(np.array([3.0, 0.0]), np.array([1.0, 2.0, 3.0])) == 2.5 / 6
    assert area_above(np.array([1.0]), np.array([1.0])) == 0.5


def test_the_area_is_that_of_all_pairs_compared_one_by_one(planted_garbage):
    rng = np.random.default_rng(11)
    for n, m, values in [(1, 9, 3), (7, 1, 2), (40, 30, 5), (25, 60, 10_000)]:
        garbage, clean = rng.integers(values, size=n) * 1.0, rng.integers(values, size=m) * 1.0
        slow = sum((g > c) + 0.5 * (g == c) for g in garbage for c in clean) / (n * m)
        found = planted_garbage.area_above(garbage, clean)
        assert found == pytest.approx(slow, abs=1e-12)
        assert planted_garbage.area_above(clean, garbage) == pytest.approx(1 - found, abs=1e-12)


def test_places_are_areas_against_clean_documents_and_ranks_in_the_whole_pool(
    garbage, planted_garbage
):
    kinds = np.array(
        [garbage.CLEAN] * 4 + ["shuffled words"] * 2 + ["repeated phrase", "random characters"]
    )
    found = planted_garbage.places(np.array([1.0, 2, 3, 4, 2.5, 4.5, 0.5, 9]), kinds)
    # in order 0.5 1 2 2.5 3 4 4.5 9: ranks (place + 1/2) / 8
    assert found["shuffled words"] == {"area": 0.75, "rank": (3.5 + 6.5) / 16}
    assert found["repeated phrase"] == {"area": 0.0, "rank": 0.5 / 8}
    assert found["random characters"] == {"area": 1.0, "rank": pytest.approx(7.5 / 8, abs=1e-4)}


def test_measures_are_read_raw_where_a_signal_is_turned(planted_garbage):
    raw = {
        "loss of text": np.array([1.0]),
        "entropy of text": np.array([2.0]),
        "loss of conditioned": np.array([3.0]),
        "loss of completion": np.array([3.0 - np.log(2)]),
    }
    names = ("surprisal", "ifd", "completion_loss", "generative_entropy", "perplexity")
    found = planted_garbage.measures_of(raw, {name: np.array([-7.0]) for name in names})
    assert {name: values.item() for name, values in found.items()} == pytest.approx(
        {
            "perplexity": 1.0,
            "generative_entropy": 2.0,
            "completion_loss": 3.0,
            "ifd": 2.0,
            "surprisal": -7.0,
        }
    )
    assert list(found)[::4] == ["perplexity", "ifd"]  # whatever order the tables give


@pytest.mark.parametrize("prompt", ["", "Why?\n"])
def test_the_config_is_valid_and_asks_pairs_for_more(garbage, planted_garbage, tmp_path, prompt):
    import yaml

    from databourse.config import load_config
    from databourse.config_models import LanguageModelConfig

    documents = [garbage.Document(prompt, "because")]
    path = tmp_path / "pool.yaml"
    path.write_text(yaml.safe_dump(planted_garbage.settings_of(documents, threads=1, seed=3)))
    config = load_config(path)
    assert ("ifd" in config.signals) == bool(prompt)
    assert config.deduplicate.near is False
    assert config.language_model == LanguageModelConfig()


def test_documents_of_the_corpora_are_those_of_lowest_hash(planted_garbage, data_folder):
    from databourse.digests import document_id

    few = planted_garbage.clean_documents("WikiText-2", 50)
    more = planted_garbage.clean_documents("WikiText-2", 10_000)
    assert more[:50] == few
    assert 1_000 < len(more) < 2_000
    assert min(len(each.completion) for each in more) >= 200
    ids = [document_id(each.completion) for each in more]
    assert ids == sorted(set(ids))
    pairs = planted_garbage.clean_documents("GSM8K", 20)
    assert all(each.prompt.endswith("\n") and "####" in each.completion for each in pairs)


def test_the_page_tells_area_and_ranks_of_each_kind(benchmark_module):
    place = {"area": 0.98765, "rank": 0.9512, "signal_rank": 0.0321}
    result = {
        "kind": "planted_garbage",
        "corpus": "GSM8K",
        "n_documents": 2_000,
        "n_garbage": {"one": 100, "other": 90},
        "model": {"layers": 2, "width": 128, "vocabulary": 2048, "folds": 2},
        "cpu_seconds": 61.2,
        "versions": {"torch": "9.9"},
        "command": "python -m planted",
        "measures": {"perplexity": {"one": place, "other": place | {"area": 0.5}}},
    }
    page = benchmark_module("write_tables").page([result])
    assert "| `perplexity` | 0.988 (95.1%) | 0.500 (95.1%) |" in page
    assert "| `perplexity` | 3.2% | 3.2% |" in page
    assert "one (100), other (90)" in page
    assert "    python -m planted\n" in page
