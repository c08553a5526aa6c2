"""The rule, by hand, by law, and against a twin that compares every pair with sets of tuples."""

import unicodedata
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from databourse.decontamination.normalisation import mask_numbers, words_of, words_or_marks
from databourse.decontamination.overlap import find_contaminated
from databourse.decontamination.protected import ProtectedText
from databourse.errors import InputError


def find(documents, examples, *, batch=1_000, **rule):
    ids, texts = list(documents), list(documents.values())
    batches = [(ids[i : i + batch], texts[i : i + batch]) for i in range(0, len(ids), batch)]
    return find_contaminated(batches, examples, **rule)


def drops(result):
    return {
        row["document_id"]: (row["set"], row["example_id"], row["reason"], row["overlap"])
        for row in result.documents.to_pylist()
    }


def one(text, name="1", of="test", cut=None):
    return ProtectedText(of, name, text, cut)


def numbered(prefix, first, last):
    """Return words that stand in no other place: prefix letters and a letter code."""
    return [f"{prefix}{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(first, last)]


E20 = numbered("e", 0, 20)
TEXT20 = " ".join(E20)
NOISE = " ".join(numbered("noise", 0, 30))


# The twin.


def occurs(part, words):
    return any(words[i : i + len(part)] == part for i in range(len(words) - len(part) + 1))


def grams(words, n):
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def masked_words(words):
    masked = [mask_numbers(word) for word in words]
    return [w for i, w in enumerate(masked) if w != "0" or i == 0 or masked[i - 1] != "0"]


def parts_of(example, ngram, short_words):
    cut = len(example.text) if example.prompt_characters is None else example.prompt_characters
    prompt, answer = words_of(example.text[:cut]), words_of(example.text[cut:])
    if not prompt:
        prompt, answer = answer or words_or_marks(example.text), []
    long = [part for part in (prompt, answer) if len(part) >= ngram]
    whole, short = [], []
    if len(prompt) < ngram:
        whole.append(prompt)
    if max(len(prompt), len(answer)) < ngram:
        whole.append(prompt + answer)
        long += [prompt + answer] if len(prompt + answer) >= ngram else []
        short += [(prompt, answer)] if len(prompt + answer) >= short_words else []
    return long, short, whole


def twin(  # noqa: PLR0912 - the rule in one place
    documents,
    examples,
    *,
    ngram=8,
    overlap=0.5,
    long_ngram=13,
    short_words=5,
    numbers="masked_too",
    template_examples=None,
    near_ngram=5,
    near_overlap=0.65,
):
    parts = {example: parts_of(example, ngram, short_words) for example in examples}
    plain = {tuple(part) for long, _, _ in parts.values() for part in long}
    masked = [tuple(masked_words(part)) for part in plain]  # as many as there are parts
    masked = [part for part in masked if len(part) >= ngram and numbers == "masked_too"]
    most = template_examples or len(examples) * 3

    def judge(part, words, texts, *, ngram=ngram, overlap=overlap, long_ngram=long_ngram):
        seen = Counter(gram for text in texts for gram in set(grams(text, ngram)))
        template = {gram for gram, times in seen.items() if times > most}
        ours = {gram for gram in seen if texts is plain or 2 * gram.count("0") < ngram} - template
        theirs = set(grams(words, ngram))

        def inside(some):
            where = [i for i, gram in enumerate(grams(part, ngram)) if gram in some]
            return {j for i in where for j in range(i, i + ngram)}

        countable = inside(ours) - inside(template)
        covered = inside(ours & theirs) - inside(template)
        share = round(len(covered) / len(countable), 6) if countable else 0.0
        if not countable and texts is plain and occurs(part, words):
            return "exact_match", 1.0
        has_run = long_ngram is not None and any(
            set(grams(run, ngram)) <= ours
            for run in set(grams(part, long_ngram)) & set(grams(words, long_ngram))
        )
        if share == 1 and occurs(part, words):
            return "exact_match", 1.0
        if share >= overlap and share > 0:
            return "ngram_overlap", share
        return ("long_overlap", share) if has_run else None

    found = {}
    for document_id, text in documents.items():
        words, evidence = words_or_marks(text), []
        for example in examples:
            long, short, whole = parts[example]
            results = [judge(tuple(part), tuple(words), plain) for part in long]
            if words in whole:
                results.append(("exact_match", 1.0))
            results += [
                ("exact_match", 1.0)
                for prompt, answer in short
                if occurs(prompt, words) and (not answer or occurs(answer, words))
            ]
            evidence += [
                (reason != "exact_match", -share, example.set_name, example.example_id, reason)
                for reason, share in filter(None, results)
            ]
        if not evidence:
            for example in examples:
                for part in parts[example][0]:
                    if tuple(masked_words(part)) in masked:
                        result = judge(
                            tuple(masked_words(part)), tuple(masked_words(words)), masked
                        )
                        if result:
                            evidence.append(
                                (
                                    True,
                                    -result[1],
                                    example.set_name,
                                    example.example_id,
                                    "same_but_numbers",
                                )
                            )
        if not evidence and near_ngram:
            near_rule = {"ngram": near_ngram, "overlap": near_overlap, "long_ngram": None}
            for example in examples:
                for part in parts[example][0]:
                    near = judge(tuple(part), tuple(words), plain, **near_rule)
                    if near:
                        place = (example.set_name, example.example_id, "near_match")
                        evidence.append((True, -near[1], *place))
        if evidence:
            _, share, of, name, reason = min(evidence)
            found[document_id] = (of, name, reason, -share)
    return found


# By hand.


@pytest.mark.parametrize(
    ("n_shared", "expected"),
    [
        (20, ("test", "1", "exact_match", 1.0)),
        (13, ("test", "1", "ngram_overlap", 0.65)),
        (11, ("test", "1", "ngram_overlap", 0.55)),
        (10, ("test", "1", "ngram_overlap", 0.5)),
        (9, None),  # 9 of 20 words
        (7, None),  # no 8-gram at all
    ],
)
def test_a_run_of_an_example_of_20_words_counts_by_its_share(n_shared, expected):
    text = f"Before this. {' '.join(E20[3 : 3 + n_shared] if n_shared < 20 else E20)}. {NOISE}"
    assert drops(find({"d": text}, [one(TEXT20)])).get("d") == expected


def test_two_runs_add_up_and_overlapping_ones_are_counted_once():
    first, second = " ".join(E20[:8]), " ".join(E20[12:])
    assert drops(find({"d": f"{first} {NOISE} {second}"}, [one(TEXT20)])) == {
        "d": ("test", "1", "ngram_overlap", 0.8)  # 8 + 8 of 20 words
    }
    overlapping = f"{' '.join(E20[:8])} and {' '.join(E20[3:11])}"
    assert drops(find({"d": overlapping}, [one(TEXT20)])) == {
        "d": ("test", "1", "ngram_overlap", 0.55)  # 11 of 20
    }


def test_a_phrase_that_an_example_repeats_covers_it_wherever_it_stands():
    phrase = " ".join(E20[:8])
    example = one(" ".join([phrase] * 4))
    assert drops(find({"d": f"{NOISE} {phrase} {NOISE}"}, [example], long_ngram=None)) == {
        "d": ("test", "1", "ngram_overlap", 1.0)
    }


def test_a_run_of_13_words_is_enough_alone_and_one_of_12_is_not():
    example = one(" ".join(numbered("e", 0, 100)))
    texts = {f"{n}": f"{NOISE} {' '.join(numbered('e', 40, 40 + n))}" for n in (12, 13)}
    assert drops(find(texts, [example])) == {"13": ("test", "1", "long_overlap", 0.13)}
    assert drops(find(texts, [example], long_ngram=None)) == {}


def test_ngrams_in_a_row_that_stand_apart_in_the_document_are_no_long_run():
    words = numbered("e", 0, 100)
    pieces = [" ".join(words[40 + i : 48 + i]) for i in range(6)]  # the six 8-grams of a 13-gram
    assert drops(find({"d": f" {NOISE} ".join(pieces)}, [one(" ".join(words))])) == {}


@pytest.mark.parametrize(
    "edit",
    [
        str.upper,
        lambda text: text.replace(" ", " -- "),
        lambda text: text.replace(" ", "\n\t"),
        lambda text: text.replace(" ", "\u2009\u2026"),
        lambda text: text.translate({ord("e"): "\uff25"}),  # full-width capital
        "\u200b".join,
        lambda text: unicodedata.normalize("NFD", text),
        lambda text: f"\u201c{text}\u201d!",
    ],
)
def test_case_punctuation_white_space_and_unicode_do_not_hide_an_example(edit):
    example = one(TEXT20 + " caf\u00e9")
    assert drops(find({"d": f"{NOISE} {edit(example.text)} {NOISE}"}, [example])) == {
        "d": ("test", "1", "exact_match", 1.0)
    }


def test_changed_numbers_are_found_by_the_second_comparison_alone():
    question = (
        "Ann buys {} pens for {} dollars each and sells {} of them for {} dollars what is left"
    )
    example, other = one(question.format(3, "4", 2, "5")), question.format(12, "1,700.50", 9, 8)
    assert drops(find({"d": other}, [example])) == {"d": ("test", "1", "same_but_numbers", 1.0)}
    assert drops(find({"d": other}, [example], numbers="kept")) == {}
    assert drops(find({"d": example.text}, [example]))["d"][2] == "exact_match"


def test_a_table_of_figures_is_not_like_another():
    figures = [" ".join(str(n) for n in range(first, first + 40)) for first in (0, 500)]
    assert drops(find({"d": figures[1]}, [one(figures[0])])) == {}


def test_chains_of_sums_are_alike_and_no_leak():
    chain = "so {} x {} x {} x {} x {} is {}"
    assert drops(find({"d": chain.format(*"987654")}, [one(chain.format(*"123456"))])) == {}


SHORT = "what is the capital of france"


@pytest.mark.parametrize(
    ("example", "text", "is_dropped"),
    [
        (one(SHORT), f"Tell me: {SHORT}? {NOISE}", True),  # 6 words: may not be contained
        (one(SHORT), "what is the capital of spain", False),
        (one("good morning"), "Good morning!", True),  # 2 words: may not be all of a document
        (one("good morning"), "Good morning to you", False),
        (one(f"{SHORT} paris", cut=len(SHORT)), f"{SHORT} {NOISE}", False),  # answer missing
        (one(f"{SHORT} paris", cut=len(SHORT)), f"In Paris? {NOISE} {SHORT}", True),
        (one(f"{SHORT} paris", cut=len(SHORT)), SHORT, True),  # the question is all of it
        (one(f"{TEXT20} yes", cut=len(TEXT20)), f"{NOISE} yes", False),  # a short answer alone
        (one(f"{TEXT20} yes", cut=len(TEXT20)), "yes", False),
        (one(f"why {TEXT20}", cut=3), f"{NOISE} {TEXT20}", True),  # a long answer alone
        (one("a b c d e f g h", cut=7), f"{NOISE} a b c d e f g h", True),  # long together
        (
            one("capital city of france paris", cut=22),
            f"In Paris {NOISE} capital city of france",
            True,
        ),
        (one("capital city of it rome", cut=18), f"In Paris {NOISE} capital city of it", False),
        (one("who? nobody.", cut=4), "Who? Nobody!", True),  # 2 words: both are all of it
        (one("who? nobody.", cut=4), "Who? Nobody but us!", False),
        (one("\u2603"), "\u2603 ", True),
        (one("\u2603"), "\u2603 snow", False),
        (one("? seven words that say something rather short", cut=1), "Seven, words!", False),
        (
            one("? seven words that say something rather short", cut=1),
            "Seven words that say: something rather short.",
            True,
        ),
    ],
)
def test_short_examples_count_by_their_whole_text(example, text, is_dropped):
    expected = {"d": ("test", "1", "exact_match", 1.0)} if is_dropped else {}
    assert drops(find({"d": text}, [example])) == expected


def test_boilerplate_of_one_ngram_drops_nothing_but_where_it_is_half_of_an_example():
    boilerplate = " ".join(numbered("all", 0, 8))
    pool = {f"{n}": f"{boilerplate} {' '.join(numbered(f'd{n}', 0, 30))}" for n in range(50)}
    examples = [one(f"{boilerplate} {TEXT20}", "long")]
    assert drops(find(pool, examples)) == {}
    short = [*examples, one(f"{boilerplate} {' '.join(E20[:8])}", "short")]
    assert set(drops(find(pool, short)).values()) == {("test", "short", "ngram_overlap", 0.5)}


def test_a_template_of_many_examples_counts_only_as_long_as_it_is_not_called_one():
    template = " ".join(numbered("t", 0, 20))
    examples = [one(f"{template} {' '.join(numbered(f'q{n}', 0, 8))}", f"{n}") for n in range(4)]
    examples.append(one(template, "bare"))
    pool = {
        "same template": f"{template} {NOISE}",
        "leak": f"{NOISE} {examples[2].text}",
        "question": " ".join(numbered("q2", 0, 8)),
    }

    assert set(drops(find(pool, examples))) == {"same template", "leak"}
    assert drops(find(pool, examples[:4], template_examples=3)) == {
        "leak": ("test", "2", "exact_match", 1.0),
        "question": ("test", "2", "ngram_overlap", 1.0),
    }
    # a word that borders the template makes neither a run nor half of the 8 own words
    border = f"{template} q2aa {NOISE}"
    assert drops(find({"d": border}, examples[:4], template_examples=3)) == {}
    # an example that is nothing but the template still may not stand anywhere word for word
    assert drops(find(pool, examples, template_examples=3))["same template"] == (
        "test",
        "bare",
        "exact_match",
        1.0,
    )


def test_what_many_examples_share_and_what_one_has_alone_add_up():
    opening = " ".join(numbered("t", 0, 10))
    examples = [
        one(f"{opening} {' '.join(numbered(f'own{chr(97 + n % 26)}{n // 26}', 0, 10))}", f"{n:03d}")
        for n in range(90)
    ]
    own = examples[30].text.split()[10:18]
    pool = {"both": f"{opening} {NOISE} {' '.join(own)}", "opening": f"{opening} {NOISE}"}
    result = find(pool, examples)
    assert drops(result) == {
        "both": ("test", "030", "ngram_overlap", 0.9),  # 10 + 8 of 20 words
        "opening": ("test", "000", "ngram_overlap", 0.5),
    }
    assert result.sets[0].n_examples_found == 90


def test_runs_that_many_examples_share_are_told_apart():
    examples = [
        one(
            " ".join(numbered(f"{of}", 0, 13) + numbered(f"own{of}{chr(97 + n % 26)}{n}", 0, 60)),
            f"{n:03d}",
            of,
        )
        for of in ("left", "right")
        for n in range(70)
    ]
    pool = {of: f"{NOISE} {' '.join(numbered(of, 0, 13))}" for of in ("left", "right")}
    found = drops(find(pool, examples))
    assert {key: row[:3] for key, row in found.items()} == {
        of: (of, "000", "long_overlap") for of in ("left", "right")
    }


def test_a_pair_of_two_short_parts_is_one_long_part():
    example = one(" ".join(E20[:12]), cut=len(" ".join(E20[:6])))
    assert drops(find({"d": f"{NOISE} {' '.join(E20[2:10])}"}, [example])) == {
        "d": ("test", "1", "ngram_overlap", 0.666667)  # 8 of 12 words, across the seam
    }


def test_a_text_shared_by_many_examples_is_no_template_if_the_examples_are_equal():
    examples = [one(TEXT20, f"{n}") for n in range(30)]
    result = find({"d": TEXT20}, examples, template_examples=2)
    assert drops(result) == {"d": ("test", "0", "exact_match", 1.0)}
    assert result.sets[0].n_examples_found == 30


def test_the_summary_counts_every_set_that_a_document_repeats():
    a, b = " ".join(numbered("a", 0, 10)), " ".join(numbered("b", 0, 12))
    examples = [one(a, "1", "x"), one(a, "1", "y"), one(b, "2", "y"), one("unseen text", "3", "y")]
    result = find({"d1": f"{a} {NOISE} {b}", "d2": f"{b} end", "d3": NOISE}, examples)

    assert drops(result) == {
        "d1": ("x", "1", "exact_match", 1.0),
        "d2": ("y", "2", "exact_match", 1.0),
    }
    assert result.n_documents == 3
    assert [
        (s.name, s.n_examples, s.n_ngrams, s.n_examples_found, s.n_documents) for s in result.sets
    ] == [("x", 1, 3, 1, 1), ("y", 3, 3 + 5, 2, 2)]
    assert (result.frequent[0].n_documents, result.frequent[0].words) == (2, b.rsplit(" ", 4)[0])
    assert len(result.frequent) == 8


def test_a_document_counts_for_the_set_of_a_long_and_that_of_a_short_example():
    examples = [one(TEXT20, "1", "b"), one(SHORT, "1", "a"), one(SHORT, "1", "c")]
    result = find({"d": f"{SHORT} {TEXT20}"}, examples)
    assert drops(result) == {"d": ("a", "1", "exact_match", 1.0)}
    assert [(each.n_documents, each.n_examples_found) for each in result.sets] == [(1, 1)] * 3


def test_the_digest_of_a_set_knows_its_texts_and_neither_ids_nor_order():
    def digest(*examples):
        return find({}, examples).sets[0].digest

    both = digest(one("a b", "1"), one("c d", "2"))
    assert both == digest(one("c d", "7"), one("a b", "8"))
    assert both != digest(one("a b", "1"), one("c e", "2"))
    assert both != digest(one("a b", "1", cut=1), one("c d", "2"))


def test_nothing_protected_drops_nothing_and_reports_no_set():
    result = find({"d": TEXT20, "empty": ""}, [])
    assert (result.documents.num_rows, result.n_documents, result.sets) == (0, 2, ())


def test_empty_documents_and_an_empty_pool_pass():
    assert drops(find({"d": "", "e": " "}, [one(TEXT20), one("x", "2")])) == {}
    assert find({}, [one(TEXT20)]).n_documents == 0


# Planted leaks: 200 items, seven ways each.


@pytest.fixture(scope="module")
def planted():
    """200 items of 48 words with numbers and four options; leaks of each, and clean documents."""
    rng = np.random.default_rng(11)
    vocabulary = numbered("v", 0, 676)

    def said(n_words):
        return [vocabulary[n] for n in rng.integers(0, len(vocabulary), n_words)]

    items, pool = [], {}
    for number in range(200):
        question = said(28)
        for at in (4, 13, 22):
            question[at] = str(rng.integers(10, 10_000))
        options = [[f"({letter})", *said(8)] for letter in "ABCD"]
        words = [*question, *(word for option in options for word in option)]
        items.append(one(" ".join(words), f"{number:03d}"))
        changed = list(words)
        for at in range(5, len(words), 10):
            changed[at] = "changed"
        shuffled = [*question, *(word for at in (2, 0, 3, 1) for word in options[at])]
        leaks = {
            "verbatim": words,
            "half": words[: len(words) // 2],
            "tenth": changed,
            "numbers": [str(rng.integers(10, 10_000)) if w.isdigit() else w for w in words],
            "shuffled": shuffled,
            "paraphrase": [f"p{word}" if n % 3 == 0 else word for n, word in enumerate(words)],
            "translation": [f"x{word}" for word in words],
        }
        for kind, leak in leaks.items():
            pool[f"{kind}-{number:03d}"] = " ".join([*said(30), *leak, *said(30)])
        pool[f"clean-{number:03d}"] = " ".join(said(120))
    return items, pool


def recall(found):
    return Counter(document_id.split("-")[0] for document_id in found)


def test_planted_leaks_are_found_but_for_paraphrases_and_translations(planted):
    items, pool = planted
    found = drops(find(pool, items))
    assert recall(found) == dict.fromkeys(("verbatim", "half", "tenth", "numbers", "shuffled"), 200)
    assert all(document_id.endswith(row[1]) for document_id, row in found.items())


def test_runs_of_13_words_alone_miss_every_tenth_word_changed(planted):
    items, pool = planted
    found = recall(drops(find(pool, items, ngram=13, overlap=1.0, numbers="kept", near_ngram=None)))
    assert (found["verbatim"], found["half"], found["tenth"]) == (200, 200, 0)
    assert found["paraphrase"] == found["translation"] == found["clean"] == 0


def test_items_are_not_found_in_an_unrelated_benchmark(planted):
    items, _ = planted
    others = {f"{n}": " ".join(numbered(f"u{n}", 0, 60)) for n in range(200)}
    assert drops(find(others, items)) == {}


# Laws.


def test_adding_documents_changes_nothing_for_the_others(planted):
    items, pool = planted
    some = {document_id: pool[document_id] for document_id in list(pool)[:400]}
    before, after = drops(find(some, items)), drops(find(pool, items))
    assert before == {key: row for key, row in after.items() if key in some}


def test_order_and_batches_of_documents_and_order_of_examples_change_nothing(planted, monkeypatch):
    items, pool = planted
    rng = np.random.default_rng(0)
    pool = {key: pool[key] for key in list(pool)[:240]}
    expected = find(pool, items)
    for batch, block in ((1, 1 << 20), (7, 50), (240, 300)):
        monkeypatch.setattr("databourse.decontamination.overlap._BLOCK_WORDS", block)
        keys = list(rng.permutation(list(pool)))
        shuffled = [items[n] for n in rng.permutation(len(items))]
        result = find({key: pool[key] for key in keys}, shuffled, batch=batch)
        assert result == expected


def test_colliding_hashes_change_nothing(planted):
    items, pool = planted
    items, pool = items[:20], {key: pool[key] for key in list(pool)[:200]}
    expected = find(pool, items)
    assert expected.documents.num_rows == 100
    for hash_bits in (1, 8):
        assert find(pool, items, hash_bits=hash_bits) == expected


WORDS = ("a", "b", "c", "dog", "7", "12", "3rd", "\u00e9t\u00e9", "\u6211")


def sentences(most):
    return st.lists(st.sampled_from(WORDS), min_size=1, max_size=most).map(" ".join)


pools = st.lists(sentences(14), min_size=1, max_size=6)


@st.composite
def leaky_pools(draw):
    """Draw examples, and documents that hold pieces of them."""
    texts = draw(st.lists(sentences(14), min_size=1, max_size=5))
    cuts = [draw(st.none() | st.integers(0, len(text))) for text in texts]
    examples = [
        one(text, f"{n}", "xy"[n % 2], cut)
        for n, (text, cut) in enumerate(zip(texts, cuts, strict=True))
    ]
    pool = {}
    for number in range(draw(st.integers(1, 5))):
        words = draw(st.sampled_from(texts)).split()
        first = draw(st.integers(0, len(words) - 1))
        piece = words[first : draw(st.integers(first + 1, len(words)))]
        pool[f"{number}"] = " ".join([draw(sentences(3)), *piece, draw(sentences(4))])
    return examples, pool


rules = st.fixed_dictionaries(
    {
        "ngram": st.integers(2, 4),
        "overlap": st.sampled_from([0.3, 0.5, 1.0]),
        "long_ngram": st.sampled_from([None, 4, 6]),
        "short_words": st.integers(1, 4),
        "numbers": st.sampled_from(["kept", "masked_too"]),
        "template_examples": st.sampled_from([None, 1, 2]),
        "near_ngram": st.sampled_from([None, 2, 5]),
        "near_overlap": st.sampled_from([0.4, 1.0]),
    }
)


@hypothesis_settings(max_examples=150)
@given(leaky_pools(), rules, st.sampled_from([2, 64]), st.sampled_from([(0, 0), (1, 9), (64, 99)]))
def test_the_result_is_that_of_comparing_every_pair(drawn, rule, hash_bits, memory):
    examples, pool = drawn
    with pytest.MonkeyPatch.context() as patched:  # what is common, and what is remembered
        for name, value in zip(("_COMMON_PARTS", "_REMEMBERED_NUMBERS"), memory, strict=True):
            patched.setattr(f"databourse.decontamination.part_matches.{name}", value)
        found = drops(find(pool, examples, hash_bits=hash_bits, **rule))
    assert found == twin(pool, examples, **rule)


def cut_between_words(example):
    cut, text = example.prompt_characters, example.text
    return cut is None or cut in {0, len(text)} or " " in text[cut - 1 : cut + 1]


@hypothesis_settings(max_examples=50)
@given(leaky_pools(), rules, st.tuples(sentences(5), sentences(5)))
def test_a_document_that_holds_a_protected_text_of_ngram_words_is_dropped(drawn, rule, around):
    examples = [each for each in drawn[0] if cut_between_words(each)]
    leaks = {
        each.example_id: f"{around[0]}, {each.text.upper()}! {around[1]}"
        for each in examples
        if len(words_of(each.text)) >= rule["ngram"]
    }
    assert set(drops(find(leaks, examples, **rule))) == set(leaks)


@hypothesis_settings(max_examples=50)
@given(leaky_pools(), rules)
def test_a_document_without_a_shared_ngram_is_kept_but_for_short_examples(drawn, rule):
    examples, pool = drawn
    ngram = rule["ngram"]
    long = [each for each in examples if len(words_of(each.text)) >= ngram]
    protected = {gram for each in long for gram in grams(words_of(each.text), ngram)}
    strangers = {
        key: text for key, text in pool.items() if not protected & set(grams(words_of(text), ngram))
    }
    plain = [one(each.text, each.example_id, each.set_name) for each in long]
    assert drops(find(strangers, plain, **{**rule, "numbers": "kept"})) == {}


# Bounds.


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"ngram": 1}, "ngram must be >= 2"),
        ({"overlap": 0.0}, "overlap in"),
        ({"overlap": float("nan")}, "overlap in"),
        ({"numbers": "some"}, "numbers kept or masked_too"),
        ({"long_ngram": 7}, "long_ngram must be at least ngram, got 7 and 8"),
        ({"template_examples": 0}, "template_examples must be >= 1"),
        ({"short_words": 0}, "short_words must be >= 1"),
        ({"near_ngram": 1}, "near_ngram must be >= 2"),
        ({"near_overlap": 0.0}, "near_overlap in"),
    ],
)
def test_arguments_out_of_bounds_are_refused(rule, message):
    with pytest.raises(InputError, match=message):
        find({"d": "x"}, [one(TEXT20)], **rule)


def test_examples_that_cannot_be_protected_are_refused():
    with pytest.raises(InputError, match="example '1' of set 'test' has no visible text"):
        find({}, [one(" ")])
    with pytest.raises(InputError, match="example '1' of set 'test' has two texts"):
        find({}, [one("a"), one("b")])
    assert find({}, [one("a"), one("a")]).sets[0].n_examples == 1


def test_a_batch_with_an_id_too_many_is_refused():
    with pytest.raises(InputError, match="one document_id per text, got 2 for 1"):
        find_contaminated([(["a", "b"], ["x"])], [one("x")])


# Near matches.


def with_changes(words, *places):
    return " ".join("changed" if n in places else word for n, word in enumerate(words))


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ((6, 13), ("test", "1", "near_match", 0.9)),  # 6 + 6 + 6 of 20 words, no 8-gram
        ((5, 10, 15), None),  # 5 + 4 + 4 + 4: one 5-gram
        ((2, 8, 14), ("test", "1", "near_match", 0.75)),  # 2 + 5 + 5 + 5: 15 of 20
        ((3, 9, 14), None),  # 3 + 5 + 4 + 5: 10 of 20
    ],
)
def test_an_example_with_words_changed_here_and_there_is_a_near_match(changed, expected):
    text = f"{NOISE} {with_changes(E20, *changed)} {NOISE}"
    assert drops(find({"d": text}, [one(TEXT20)])).get("d") == expected
    assert drops(find({"d": text}, [one(TEXT20)], near_ngram=None)) == {}


def test_an_example_that_says_a_number_in_words_is_the_same_but_for_numbers():
    example = one("the 7 old ducks of the farmer ate 25 fresh worms before the rain came at last")
    leak = "the seven old ducks of the farmer ate twenty-five fresh worms before the rain came"
    assert drops(find({"d": leak}, [example]))["d"][2] == "same_but_numbers"
