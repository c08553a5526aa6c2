import os
from pathlib import Path

import numpy as np
import pytest

from databourse.dedup.minhash import Banding, draw_hash_family
from databourse.dedup.near import (
    Sketches,
    find_near_duplicates,
    joined,
    near_duplicates,
    sketch_documents,
)
from databourse.dedup.shingles import ShingleSets, words_of
from databourse.errors import InputError

THRESHOLD = 0.8


def find(documents, *, threshold=THRESHOLD, seed=0, batch=10_000, **choices):
    ids, texts = list(documents), list(documents.values())
    batches = [(ids[i : i + batch], texts[i : i + batch]) for i in range(0, len(ids), batch)]
    rng = np.random.default_rng(seed)
    return find_near_duplicates(batches, threshold=threshold, rng=rng, **choices)


def drops(result):
    return {
        row["document_id"]: (row["representative_id"], row["similarity"])
        for row in result.duplicates.to_pylist()
    }


def set_of(text, ngram=5):
    words = words_of(text)
    return {tuple(words[i : i + ngram]) for i in range(max(1, len(words) - ngram + 1))}


def similarity(one, other):
    one, other = set_of(one), set_of(other)
    return round(len(one & other) / len(one | other), 6)


def brute_force(documents, threshold):
    """The rule, over all pairs and with sets of tuples."""
    sets = {each: set_of(text) for each, text in documents.items()}
    kept, dropped = [], {}
    for own in sorted(documents, key=lambda each: (-len(documents[each]), each)):
        near = [
            (round(len(sets[own] & sets[other]) / len(sets[own] | sets[other]), 6), other)
            for other in kept
        ]
        best = max((value for value, _ in near), default=0)
        if best >= threshold:
            dropped[own] = next((other, value) for value, other in near if value == best)
        else:
            kept.append(own)
    return dropped


def random_text(rng, n_words):
    return " ".join(f"w{number}" for number in rng.integers(0, 5000, n_words))


@pytest.fixture(scope="module")
def edited():
    """300 documents: 60 originals with 4 copies each, in which 0 to 4 words are changed."""
    rng, documents = np.random.default_rng(7), {}
    for family in range(60):
        original = random_text(rng, int(rng.integers(20, 90))).split()
        documents[f"{family:03d}-0"] = " ".join(original)
        for copy in range(1, 5):
            words = list(original)
            for at in rng.integers(0, len(words), int(rng.integers(0, 5))):
                words[at] = "edited" + words[at]
            documents[f"{family:03d}-{copy}"] = " ".join(words)
    return documents


def test_the_result_is_that_of_all_pairs_compared_by_hand(edited):
    expected = brute_force(edited, THRESHOLD)
    assert 50 < len(expected) < 200  # the case is neither empty nor everything
    # 512 permutations: P(candidate at 0.8) > 0.99 and far more above it, so that none is missed.
    assert drops(find(edited, permutations=512)) == expected


def test_no_dropped_document_is_below_the_threshold_to_its_surviving_representative(edited):
    for threshold in (0.5, 0.8, 0.95):
        found = drops(find(edited, threshold=threshold))
        assert found
        for own, (representative, value) in found.items():
            assert representative not in found
            assert value == similarity(edited[own], edited[representative]) >= threshold


def test_the_result_does_not_depend_on_order_batches_or_shards(edited):  # DD-4
    expected = find(edited).duplicates
    rng = np.random.default_rng(1)
    for batch in (1, 7, 64):
        ids = list(rng.permutation(list(edited)))
        shuffled = {each: edited[each] for each in ids}
        assert find(shuffled, batch=batch).duplicates.equals(expected)
    assert expected["document_id"].to_pylist() == sorted(expected["document_id"].to_pylist())


def test_sketches_of_shards_join_in_any_order(edited):
    family = draw_hash_family(128, np.random.default_rng(0))
    ids = sorted(edited)
    shards = [
        sketch_documents(
            part, [edited[each] for each in part], family=family, banding=Banding(21, 6), ngram=5
        )
        for part in (ids[200:], ids[:50], ids[50:200])
    ]
    found = near_duplicates(joined(shards, bands=21), threshold=THRESHOLD)
    assert found.duplicates.equals(find(edited).duplicates)


@pytest.mark.parametrize("limits", [{}, {"bucket_documents": 2, "comparisons": 1}])
def test_a_second_run_over_the_survivors_drops_nothing(edited, limits):  # DD-5
    family = draw_hash_family(128, np.random.default_rng(0))

    def run(documents):
        sketch = sketch_documents(
            list(documents),
            list(documents.values()),
            family=family,
            banding=Banding(21, 6),
            ngram=2,
        )
        return near_duplicates(sketch, threshold=0.4, **limits)

    first = run(edited)
    gone = set(first.duplicates["document_id"].to_pylist())
    assert gone
    assert run({k: v for k, v in edited.items() if k not in gone}).duplicates.num_rows == 0


def test_the_longest_then_the_smallest_id_survives():
    text = "the quick brown fox jumps over the lazy dog and runs far away from here"
    found = find({"a": text, "c": text + "!", "b": text + "?"})
    assert drops(found) == {"a": ("b", 1.0), "c": ("b", 1.0)}


def test_a_chain_does_not_drop_what_its_survivor_does_not_resemble():
    words = [f"w{number}" for number in range(60)]
    first = " ".join(words) + " !!"  # longest
    middle = " ".join([*words[4:], "x0", "x1", "x2"]) + "!"
    last = " ".join([*words[8:], "x0", "x1", "x2", "y3", "y4", "y5"])
    assert similarity(first, middle) >= THRESHOLD
    assert similarity(middle, last) >= THRESHOLD > similarity(first, last)
    assert set(drops(find({"a": first, "b": middle, "c": last}))) == {"b"}


def test_the_more_similar_of_two_survivors_represents():
    words = [f"w{number}" for number in range(60)]
    ends = {
        "long": " ".join([*words, *"abcd"]) + "!!!",
        "near": " ".join([*words[8:], *"stuv"]) + "!!!!!!",
    }
    between = " ".join([*words[6:], *"st"])
    assert similarity(ends["long"], ends["near"]) < 0.78
    found = drops(find({**ends, "own": between}, threshold=0.78, permutations=256))
    assert similarity(between, ends["long"]) >= 0.78
    assert found == {"own": ("near", similarity(between, ends["near"]))}


def test_a_threshold_of_exactly_the_similarity_merges():
    words = [f"w{number}" for number in range(14)]
    one, other = " ".join(words[:13]), " ".join(words[1:])  # 8 common of 10 shingles
    assert similarity(one, other) == 0.8
    assert len(drops(find({"a": one, "b": other}, permutations=512))) == 1
    assert len(drops(find({"a": one, "b": other}, permutations=512, threshold=0.800001))) == 0


def test_identical_and_short_documents_always_merge():  # DD-3
    documents = {
        "a1": "Yes!",
        "a2": "yes",
        "b1": "No",
        "c1": "one two three four",
        "c2": "One, two; three... four",
        "d1": "one two three five",
        "e1": "",
        "f1": "!!!",
        "g1": "word " * 300,
        "g2": "word " * 300,
    }
    for seed in range(5):
        assert drops(find(documents, seed=seed)) == {
            "a2": ("a1", 1.0),
            "c1": ("c2", 1.0),
            "g2": ("g1", 1.0),
        }


def test_problems_from_one_template_stay_apart():  # DD-7
    template = (
        "Anna has {} red marbles and {} blue marbles in her bag, she gives {} of them to Ben "
        "and loses {} on the way home. How many marbles does she have left?"
    )
    rng = np.random.default_rng(3)
    numbers = rng.permutation(400).reshape(100, 4)
    documents = {f"{i:03d}": template.format(*row) for i, row in enumerate(numbers)}
    assert drops(find(documents)) == {}
    zeroed = {each: template.format(0, 0, 0, 0) for each in documents}
    assert len(drops(find(zeroed))) == 99  # what digits -> 0 would have done


def test_sums_that_differ_in_one_sign_stay_apart():
    assert drops(find({"a": "What is 3 + 4 ?", "b": "What is 3 - 4 ?"})) == {}


def test_a_full_bucket_is_counted_and_loses_only_recall():
    template = "the very same long words stand at the head of all pages on our site and then comes "
    documents = {f"{i:03d}": template + f"page{i}" for i in range(60)}
    ids, texts = list(documents), list(documents.values())
    family = draw_hash_family(128, np.random.default_rng(0))
    sketch = sketch_documents(ids, texts, family=family, banding=Banding(21, 6), ngram=5)
    assert near_duplicates(sketch, threshold=0.99).full_buckets == 0
    limited = near_duplicates(sketch, threshold=0.99, bucket_documents=10)
    assert limited.full_buckets > 0
    assert near_duplicates(sketch, threshold=0.8, bucket_documents=1).duplicates.num_rows == 59


def sketched(*documents):
    """Sketches written out: (document_id, characters, keys of the bands, shingles) each."""
    ids, characters, keys, shingles = zip(*documents, strict=True)
    sets = ShingleSets(
        np.array([each for own in shingles for each in own], dtype=np.uint64),
        np.cumsum([0, *map(len, shingles)]),
    )
    return Sketches(list(ids), np.array(characters), np.array(keys, dtype=np.uint64), sets)


def test_a_bucket_remembers_its_first_survivors_only():
    sketches = sketched(("a", 9, [1], [1, 2]), ("b", 8, [1], [3, 4]), ("c", 7, [1], [3, 4]))
    limited = near_duplicates(sketches, threshold=THRESHOLD, bucket_documents=1)
    assert (drops(limited), limited.full_buckets) == ({}, 1)
    roomy = near_duplicates(sketches, threshold=THRESHOLD, bucket_documents=3)
    assert (drops(roomy), roomy.full_buckets) == ({"c": ("b", 1.0)}, 0)


def test_a_document_is_compared_first_with_those_that_share_most_bands():
    sketches = sketched(
        ("a", 9, [3, 2], [1, 2]), ("b", 8, [3, 4], [3, 4]), ("c", 7, [3, 4], [3, 4])
    )
    assert drops(near_duplicates(sketches, threshold=THRESHOLD, comparisons=1)) == (
        {"c": ("b", 1.0)}
    )


def test_a_document_is_compared_with_no_more_survivors_than_allowed():
    sketches = sketched(
        ("a", 9, [3, 4], [1, 2]), ("b", 8, [3, 5], [3, 4]), ("c", 7, [3, 4], [3, 4])
    )
    assert drops(near_duplicates(sketches, threshold=THRESHOLD, comparisons=1)) == {}
    found = near_duplicates(sketches, threshold=THRESHOLD, comparisons=2)
    assert drops(found) == {"c": ("b", 1.0)}


def test_a_set_inside_another_merges_when_their_sizes_just_allow_it():
    sketches = sketched(("a", 9, [1], [1, 2, 3, 4, 5]), ("b", 8, [1], [1, 2, 3, 4]))
    assert drops(near_duplicates(sketches, threshold=0.8)) == {"b": ("a", 0.8)}
    assert drops(near_duplicates(sketches, threshold=0.800001)) == {}


def test_an_equal_key_in_another_band_makes_no_candidate():
    sketches = sketched(("a", 9, [1, 2], [1, 2]), ("b", 8, [2, 1], [1, 2]))
    assert drops(near_duplicates(sketches, threshold=THRESHOLD)) == {}


def test_no_documents_have_no_duplicates():
    result = find({})
    assert (result.n_documents, result.duplicates.num_rows) == (0, 0)
    assert find({"a": "alone"}).duplicates.num_rows == 0


def test_progress_counts_every_document(edited):
    told = []
    find(edited, batch=128, progress=told.append)
    assert told == [128, 128, 44]


def test_a_document_that_comes_twice_is_refused():
    batches = [(["a"], ["x"]), (["a"], ["x"])]
    with pytest.raises(InputError, match="1 come more than once, for example a"):
        find_near_duplicates(batches, threshold=0.8, rng=np.random.default_rng(0))


def test_ids_and_texts_must_pair_up():
    with pytest.raises(InputError, match="got 1 for 2"):
        find_near_duplicates([(["a"], ["x", "y"])], threshold=0.8, rng=np.random.default_rng(0))


@pytest.mark.parametrize("choice", [{"threshold": 0.0}, {"permutations": 0}, {"ngram": 0}])
def test_choices_outside_their_domain_are_refused(choice):
    with pytest.raises(InputError):
        find({"a": "x"}, **choice)


def test_all_planted_pairs_of_real_articles_are_found():
    root = Path(os.environ.get("DATABOURSE_DATA") or Path(__file__).parents[3] / "shared" / "data")
    folder = root / "dedup" / "minhash_articles"
    if not folder.is_dir():
        pytest.skip(f"no data at {folder}; set DATABOURSE_DATA")
    lines = (folder / "articles_100.train").read_text(encoding="utf-8").splitlines()
    truth = (folder / "articles_100.truth").read_text(encoding="utf-8").splitlines()
    found = drops(find(dict(line.split(" ", 1) for line in lines)))
    pairs = {frozenset((own, other)) for own, (other, _) in found.items()}
    assert pairs == {frozenset(line.split()) for line in truth if line}
