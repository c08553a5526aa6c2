import numpy as np
import pytest

from databourse.digests import document_id
from databourse.manifests import diff_manifests, diff_record, open_manifest
from databourse.manifests.difference_page import render_difference_page

COLUMNS = ("topic", "source", "tokens", "log_price", "rank", "weight")


def texts_of(rng, names):
    """Return documents as `made.documents` takes them, with random prices, topics and lengths."""
    return [
        (
            f"story {name}",
            ("gazette", "letters")[int(rng.integers(2))],
            str(rng.integers(3)),
            int(rng.integers(1, 9)),
            -float(rng.integers(1, 9)),
            None,
        )
        for name in names
    ]


def published(made, root, texts, **facts):
    result = made.publish(
        root, documents=made.documents(texts=texts), facts=made.facts(**facts), shard_rows=7
    )
    return open_manifest(result.path)


def limits(**changes):
    return {"budget": {"kind": "tokens", "amount": 999, "limit_tokens": 999}, **changes}


@pytest.fixture
def two(made, tmp_path):
    """Return manifests of 30 and 32 random documents, 20 of them shared and half of these alike."""
    rng = np.random.default_rng(3)
    shared = texts_of(rng, range(20))
    before = shared + texts_of(rng, range(20, 30))
    changed = shared[:10] + texts_of(rng, range(10, 20))
    after = changed + texts_of(rng, range(40, 52))
    config = {"pool": "gazette", "seed": 17, "sources": [{"name": "gazette", "path": ["a.csv"]}]}
    other = {"pool": "gazette", "seed": 18, "sources": [{"name": "gazette", "path": ["b.csv"]}]}
    return (
        published(made, tmp_path / "a", before, **limits(config=config)),
        published(made, tmp_path / "b", after, **limits(config=other, snapshot_id="5eee")),
    )


def rows_of(manifest):
    return {row["document_id"]: row for row in manifest.to_arrow().to_pylist()}


def totals(rows, column):
    found = {}
    for row in rows.values():
        documents, tokens = found.get(row[column], (0, 0))
        found[row[column]] = (documents + 1, tokens + row["tokens"])
    return found


def test_a_diff_equals_a_brute_force_comparison(two):
    before, after = map(rows_of, two)

    record = diff_record(diff_manifests(*two))

    def expected(rows, ids):
        names = ("document_id", "source", "topic", "tokens", "log_price", "rank", "weight")
        return [{name: rows[each][name] for name in names} for each in sorted(ids)]

    assert record["entered"] == expected(after, set(after) - set(before))
    assert record["left"] == expected(before, set(before) - set(after))
    both = sorted(set(before) & set(after))
    assert len(both) == 20
    assert record["kept"] == {
        "documents": 20,
        "tokens": sum(after[each]["tokens"] for each in both),
    }
    for column in COLUMNS:
        assert record[f"changed_{column}"] == [
            {"document_id": each, "before": before[each][column], "after": after[each][column]}
            for each in both
            if before[each][column] != after[each][column]
        ], column
    assert record["changed_log_price"]
    assert record["changed_topic"]
    for kind, column in (("topics", "topic"), ("sources", "source")):
        old, new = totals(before, column), totals(after, column)
        for shift in record[kind]:
            name = shift.pop("name")
            assert tuple(shift.values()) == (
                old.get(name, (0, 0))[0],
                new.get(name, (0, 0))[0],
                old.get(name, (0, 0))[1],
                new.get(name, (0, 0))[1],
            )
        assert {*old, *new} <= {shift.name for shift in getattr(diff_manifests(*two), kind)}


def test_a_diff_read_backwards_is_the_same_diff(two):
    there, back = diff_record(diff_manifests(*two)), diff_record(diff_manifests(*reversed(two)))

    assert there["entered"] == back["left"]
    assert there["left"] == back["entered"]
    assert [(change["before"], change["after"]) for change in there["changed_log_price"]] == [
        (change["after"], change["before"]) for change in back["changed_log_price"]
    ]


def test_changed_settings_are_named_with_both_values(two):
    changes = {
        change.name: (change.before, change.after) for change in diff_manifests(*two).settings
    }

    assert changes == {
        "seed": (17, 18),
        "snapshot": ("5eed", "5eee"),
        "sources.gazette.path": (["a.csv"], ["b.csv"]),
    }


def test_signals_that_came_went_or_changed_are_told_apart(made, tmp_path):
    def with_signals(*signals):
        weights = {signal["signal"]: signal["weight"] for signal in signals}
        return made.facts(
            signals=signals, market=made.facts().market.model_dump() | {"weights": weights}
        )

    rarity, uncertainty = (signal.model_dump() for signal in made.facts().signals)
    newer = rarity | {"revision": 2, "parameters": {"neighbours": 9}, "signal_id": "rarity-9"}
    facts = (
        with_signals(rarity, uncertainty),
        with_signals(newer, uncertainty | {"weight": 0.5}, uncertainty | {"signal": "length"}),
    )
    before, after = (
        open_manifest(made.publish(tmp_path / str(index), facts=each).path)
        for index, each in enumerate(facts)
    )

    found = {change.signal: change for change in diff_manifests(before, after).signals}

    assert {name: change.what for name, change in found.items()} == {
        "length": "entered",
        "rarity": "changed",
        "uncertainty": "weighs otherwise",
    }
    assert [(each.name, each.before, each.after) for each in found["rarity"].changes] == [
        ("parameters.neighbours", 5, 9),
        ("revision", 1, 2),
        ("signal_id", "rarity-1a2b", "rarity-9"),
    ]
    assert diff_manifests(after, before).signals[0].what == "left"


def test_a_manifest_does_not_differ_from_itself(published):
    manifest = open_manifest(published)

    diff = diff_manifests(manifest, manifest)

    assert diff.same_content
    assert (diff.entered.num_rows, diff.left.num_rows, diff.kept.num_rows) == (0, 0, 5)
    assert not any(diff.changed(column).num_rows for column in COLUMNS)
    assert (diff.settings, diff.signals) == ((), ())


def test_manifests_without_a_common_document_entered_and_left_whole(made, tmp_path):
    before = published(made, tmp_path / "a", made.texts[:2])
    after = published(made, tmp_path / "b", made.texts[2:])

    diff = diff_manifests(before, after)

    assert (diff.entered.num_rows, diff.left.num_rows, diff.kept.num_rows) == (3, 2, 0)
    assert diff.changed("log_price").num_rows == 0


def test_the_page_escapes_what_the_manifests_say(made, tmp_path):
    texts = [("a <b>", "gazette", "<script>", 3, -1.0, None)]
    topic = made.facts().topics[0].model_dump() | {"topic": "<script>"}
    one = published(made, tmp_path / "a", texts, topics=[topic])
    config = {"pool": "gazette", "note": "<img src=x>"}
    two = published(made, tmp_path / "b", texts, topics=[topic], config=config)

    page = render_difference_page(diff_manifests(one, two))

    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "&lt;img src=x&gt;" in page
    assert document_id("a <b>") not in page  # kept with its price, so not listed
