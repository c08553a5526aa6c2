import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from databourse.dedup.minhash import Banding, draw_hash_family
from databourse.dedup.near import (
    choose_survivors,
    find_near_duplicates,
    keep_company,
    near_duplicates,
    order_of_survival,
    sketch_texts,
)
from databourse.dedup.shingles import words_of
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


def test_sketches_do_not_depend_on_threads_or_company(edited):
    family, banding = draw_hash_family(128, np.random.default_rng(0)), Banding(21, 6)
    texts = list(edited.values())
    whole = sketch_texts(texts, family=family, banding=banding, ngram=5)
    for threads in (2, 4, 7):
        shared = sketch_texts(texts, family=family, banding=banding, ngram=5, threads=threads)
        np.testing.assert_array_equal(shared.keys, whole.keys)
        np.testing.assert_array_equal(shared.characters, whole.characters)
    for place in (0, 17, len(texts) - 1):
        alone = sketch_texts(texts[place : place + 1], family=family, banding=banding, ngram=5)
        assert alone.keys.tolist() == whole.keys[place : place + 1].tolist()
        assert alone.characters.tolist() == [len(texts[place])]


def test_documents_in_other_scripts_are_as_long_as_python_says():
    texts = ["\u00e9t\u00e9", "\u4e2d\u6587", "\U0001d400", "", "\u0130"]
    family = draw_hash_family(16, np.random.default_rng(0))
    sketches = sketch_texts(texts, family=family, banding=Banding(4, 4), ngram=5)
    assert sketches.characters.tolist() == list(map(len, texts))
    found = find(dict(zip("abcde", texts, strict=True)) | {"f": "\u0130!!", "g": "i\u0307"})
    assert drops(found) == {"e": ("f", 1.0), "g": ("f", 1.0)}


@pytest.mark.parametrize("limits", [{}, {"bucket_survivors": 2, "comparisons": 1}])
def test_a_second_run_over_the_survivors_drops_nothing(edited, limits):  # DD-5
    def run(documents):
        return {own for own, _ in dropped_by_hand(documents, threshold=0.4, ngram=2, **limits)[0]}

    gone = run(edited)
    assert gone
    assert run({k: v for k, v in edited.items() if k not in gone}) == set()


def dropped_by_hand(documents, *, threshold, ngram=5, **limits):
    """Return (dropped, representative) pairs and the verdicts, the limits being the caller's."""
    from databourse.dedup.shingles import shingle_sets

    ids = sorted(documents)
    texts = [documents[each] for each in ids]
    family = draw_hash_family(128, np.random.default_rng(0))
    sketches = sketch_texts(texts, family=family, banding=Banding(21, 6), ngram=ngram)
    company = keep_company(sketches.keys.T, order_of_survival(sketches.characters))
    sets = shingle_sets(texts, ngram=ngram)
    verdicts = choose_survivors(
        company,
        begins=sets.starts[company.documents],
        lengths=np.diff(sets.starts)[company.documents],
        hashes=sets.hashes,
        threshold=threshold,
        **limits,
    )
    found = near_duplicates(pa.array(ids), company, verdicts).duplicates.to_pylist()
    return [(row["document_id"], row["representative_id"]) for row in found], verdicts


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


def test_a_document_kept_from_others_by_a_limit_is_counted():
    template = "the very same long words stand at the head of all pages on our site and then comes "
    documents = {f"{i:03d}": template + f"page{i}" for i in range(60)}
    _, verdicts = dropped_by_hand(documents, threshold=0.99)
    assert (verdicts.n_limited, verdicts.n_comparisons) == (0, 60 * 59 // 2)
    _, verdicts = dropped_by_hand(documents, threshold=0.99, bucket_survivors=10)
    assert 40 < verdicts.n_limited < 60
    _, verdicts = dropped_by_hand(documents, threshold=0.99, comparisons=10)
    assert (verdicts.n_limited, verdicts.n_comparisons) == (49, 55 + 49 * 10)
    dropped, verdicts = dropped_by_hand(documents, threshold=0.8, bucket_survivors=1)
    assert (len(dropped), verdicts.n_limited) == (59, 0)


def decided(*documents, threshold=THRESHOLD, **limits):
    """Verdicts over sketches written out in order of survival: (id, keys of bands, shingles)."""
    ids, keys, shingles = zip(*documents, strict=True)
    company = keep_company(np.array(keys, dtype=np.uint64).T, np.arange(len(ids)))
    own = company.documents.tolist()
    lengths = np.array([len(shingles[each]) for each in own], dtype=np.int64)
    verdicts = choose_survivors(
        company,
        begins=np.cumsum(lengths) - lengths,
        lengths=lengths,
        hashes=np.array([each for place in own for each in shingles[place]], dtype=np.uint64),
        threshold=threshold,
        **limits,
    )
    return {
        ids[own[member]]: (ids[own[standing]], verdicts.similarities[member])
        for member, standing in enumerate(verdicts.representatives.tolist())
        if standing >= 0
    }, verdicts.n_limited


def test_a_bucket_remembers_its_last_survivors_only():
    documents = ("a", [1], [3, 4]), ("b", [1], [1, 2]), ("c", [1], [3, 4]), ("d", [1], [1, 2])
    assert decided(*documents, bucket_survivors=2) == ({"c": ("a", 1.0), "d": ("b", 1.0)}, 0)
    # the bucket knows b alone when c comes, and c alone, which then survives, when d comes
    assert decided(*documents, bucket_survivors=1) == ({}, 2)
    three = ("a", [1], [1, 2]), ("b", [1], [3, 4]), ("c", [1], [5, 6])
    assert decided(*three, ("d", [1], [3, 4]), bucket_survivors=2) == ({"d": ("b", 1.0)}, 1)
    assert decided(*three, ("d", [1], [1, 2]), bucket_survivors=2) == ({}, 1)


def test_a_document_is_compared_first_with_those_that_share_most_bands():
    documents = ("a", [3, 4], [3, 4]), ("b", [3, 2], [1, 2]), ("c", [3, 4], [3, 4])
    assert decided(*documents, comparisons=1) == ({"c": ("a", 1.0)}, 1)


def test_of_survivors_that_share_as_many_bands_the_last_is_compared_first():
    documents = ("a", [3, 4], [3, 4]), ("b", [3, 5], [1, 2]), ("c", [3, 6], [1, 2])
    assert decided(*documents, comparisons=1) == ({"c": ("b", 1.0)}, 1)
    assert decided(*documents[::2], ("d", [3, 7], [3, 4]), comparisons=1)[0] == {}
    assert decided(*documents[::2], ("d", [3, 7], [3, 4]), comparisons=2)[0] == {"d": ("a", 1.0)}


def test_a_set_inside_another_merges_when_their_sizes_just_allow_it():
    documents = ("a", [1], [1, 2, 3, 4, 5]), ("b", [1], [1, 2, 3, 4])
    assert decided(*documents, threshold=0.8)[0] == {"b": ("a", 0.8)}
    assert decided(*documents, threshold=0.800001)[0] == {}


def test_an_equal_key_in_another_band_makes_no_candidate():
    assert decided(("a", [1, 2], [1, 2]), ("b", [2, 1], [1, 2])) == ({}, 0)


def test_keys_that_the_filter_mistakes_for_repeated_ones_make_no_company():
    keys = np.array([[5, 5 + 2**40, 9, 9, 5 + 2**41]], dtype=np.uint64)  # equal in their low bits
    company = keep_company(keys, np.arange(5)[::-1])
    assert company.documents.tolist() == [3, 2]
    assert (company.buckets.tolist(), company.sizes.tolist()) == ([[0], [0]], [2])


def test_buckets_may_be_written_into_an_array_of_the_caller():
    keys = np.random.default_rng(0).integers(0, 300, (6, 400), dtype=np.uint64)
    own = keep_company(keys, np.arange(400))
    other = keep_company(keys, np.arange(400), scratch=np.full((6, 400), 7, np.int32))
    assert own.buckets.tolist() == other.buckets.tolist()
    want = [[(keys[band] == key).sum() > 1 for band, key in enumerate(row)] for row in keys.T]
    places = {place: row for row, place in enumerate(own.documents.tolist())}
    for place, shared in enumerate(want):
        row = own.buckets[places[place]] >= 0 if place in places else [False] * 6
        assert list(row) == shared


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


@pytest.mark.parametrize("limit", [{"bucket_survivors": 0}, {"comparisons": 0}])
def test_limits_below_one_are_refused(limit):
    with pytest.raises(InputError):
        decided(("a", [1], [1]), ("b", [1], [1]), **limit)


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
