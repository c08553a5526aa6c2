"""Near dedup of a refresh: what is stored from earlier days saves work and decides nothing."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from databourse.config import NearDuplicates
from databourse.dedup import near
from databourse.digests import document_id
from databourse.progress import silent
from databourse.refresh import near_duplicates
from databourse.refresh.near_duplicates import find_near_duplicates
from databourse.seeds import stage_rng
from databourse.warehouse import hold_warehouse
from databourse.warehouse.store import append

SEED = 1
SETTINGS = NearDuplicates(threshold=0.6, ngram=3)


@pytest.fixture(scope="module")
def texts():
    """240 texts: 40 originals with 5 relatives each, shorter and longer, in which words change."""
    rng, found = np.random.default_rng(11), []
    for _ in range(40):
        words = [f"w{number}" for number in rng.integers(0, 2_000, int(rng.integers(15, 60)))]
        found.append(" ".join(words))
        for _ in range(5):
            own = list(words)
            for at in rng.integers(0, len(own), int(rng.integers(0, 4))):
                own[at] += "edited"
            cut = int(rng.integers(0, 4))
            found.append(" ".join(own[cut:] + ["more"] * int(rng.integers(0, 3))))
    return sorted(set(found))


def store(warehouse, texts):
    """Put texts into the warehouse as ingestion does, those that are new to it."""
    cursor = warehouse.cursor()
    known = {row[0] for row in cursor.execute("select document_id from documents").fetchall()}
    cursor.close()
    new = {document_id(text): text for text in texts if document_id(text) not in known}
    if not new:
        return
    row = warehouse.texts.write(new)
    documents = pa.table(
        {
            "document_id": list(new),
            "characters": [len(text) for text in new.values()],
            "text_shard": [row["text_shard"]] * len(new),
        }
    )
    with warehouse.transaction() as cursor:
        append(cursor, "text_shards", pa.Table.from_pylist([row]))
        append(cursor, "documents", documents)


def found_in(warehouse, texts, *, threads=1, settings=SETTINGS, advance=silent):
    """Return the duplicates among texts, which are stored before."""
    store(warehouse, texts)
    return find_near_duplicates(
        warehouse,
        settings,
        document_ids=pa.array(sorted(map(document_id, texts)), pa.string()),
        root_seed=SEED,
        threads=threads,
        advance=advance,
    ).duplicates


def rebuilt(texts, settings=SETTINGS):
    """Return the duplicates among texts, found in memory with nothing stored."""
    return near.find_near_duplicates(
        [([document_id(text) for text in texts], texts)],
        threshold=settings.threshold,
        ngram=settings.ngram,
        permutations=settings.permutations,
        rng=stage_rng(SEED, "near_dedup"),
    ).duplicates


@pytest.mark.parametrize("split", range(5))
def test_a_later_day_decides_what_a_rebuild_decides(split, warehouse, texts, monkeypatch):
    monkeypatch.setattr(near_duplicates, "SHARD_DOCUMENTS", 30)
    rng = np.random.default_rng(split)
    changes = 0
    before = None
    for share in (0.5, 0.7, 0.4, 0.9):  # texts come and go, so survivors are displaced and freed
        present = [text for text in texts if rng.random() < share]
        found, expected = found_in(warehouse, present), rebuilt(present)
        assert found.equals(expected)
        assert found.num_rows > 15
        if before is not None:
            stayed = set(before["document_id"].to_pylist()) & {document_id(t) for t in present}
            changes += len(stayed - set(found["document_id"].to_pylist()))
        before = found
    assert changes > 0  # documents that were dropped one day survived another


def test_a_longer_newcomer_displaces_the_survivor_of_yesterday(warehouse):
    words = [f"w{number}" for number in range(40)]
    old, longer = " ".join(words), " ".join([*words, "and"])
    copy = " ".join(words[1:])
    assert set(found_in(warehouse, [old, copy])["representative_id"].to_pylist()) == {
        document_id(old)
    }
    today = found_in(warehouse, [old, copy, longer])
    assert set(today["document_id"].to_pylist()) == {document_id(old), document_id(copy)}
    assert set(today["representative_id"].to_pylist()) == {document_id(longer)}
    assert found_in(warehouse, [copy]).num_rows == 0  # what left its sources drops nobody


def test_threads_and_the_size_of_shards_change_nothing(texts, tmp_path, monkeypatch):
    expected = rebuilt(texts)
    for threads, size in ((1, 7), (2, 100), (4, 10_000)):
        monkeypatch.setattr(near_duplicates, "SHARD_DOCUMENTS", size)
        root = tmp_path / f"{threads}"
        with hold_warehouse(root, threads=threads, memory_limit="200MB") as warehouse:
            for part in np.array_split(texts, threads + 2):  # text shards differ, too
                store(warehouse, part.tolist())
            assert found_in(warehouse, texts, threads=threads).equals(expected)


@pytest.mark.parametrize("stop_after", [1, 3])
def test_an_interrupted_run_goes_on_from_what_it_sketched(
    stop_after, warehouse, texts, monkeypatch
):
    monkeypatch.setattr(near_duplicates, "SHARD_DOCUMENTS", 30)
    for part in np.array_split(texts, 6):
        store(warehouse, part.tolist())
    told = []

    def interrupt(documents):
        told.append(documents)
        if len(told) == stop_after + 2:  # the first call tells of what was sketched before
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        found_in(warehouse, texts, advance=interrupt)
    kept = sum(told[: stop_after + 1])
    told.clear()
    assert found_in(warehouse, texts, advance=told.append).equals(rebuilt(texts))
    assert told[0] == kept > 30
    assert sum(told) == len(texts)


def sketched_rows(warehouse):
    return {
        (path.name, pq.read_metadata(path).num_rows)
        for path in warehouse.sketches.folder.glob("*.parquet")
    }


def test_only_new_documents_are_sketched_and_only_those_in_new_company_shingled(warehouse, texts):
    day_one, new = texts[:200], texts[200:]
    found_in(warehouse, day_one)
    before = sketched_rows(warehouse)
    found_in(warehouse, texts)
    added = [rows for _, rows in sketched_rows(warehouse) - before]
    assert len(added) == 2
    assert len(new) in added
    assert sum(added) < 2 * len(new) + 20
    settled = sketched_rows(warehouse)
    found_in(warehouse, texts)
    assert sketched_rows(warehouse) == settled


def test_another_threshold_uses_the_stored_shingles_and_another_ngram_neither(warehouse, texts):
    texts = texts[:60]
    for settings in (
        SETTINGS,
        NearDuplicates(threshold=0.75, ngram=3),
        NearDuplicates(threshold=0.6, ngram=2),
    ):
        found = found_in(warehouse, texts, settings=settings)
        assert found.equals(rebuilt(texts, settings))
    cursor = warehouse.cursor()
    versions = cursor.execute("select count(distinct sketches_id) from sketch_shards").fetchall()
    cursor.close()
    assert versions == [(5,)]  # keys of three settings, shingles of two


@pytest.mark.parametrize("damage", ["edited", "truncated", "missing"])
def test_a_damaged_sketch_is_not_read_and_made_again(warehouse, texts, tmp_path, damage):
    texts = texts[:60]
    expected = found_in(warehouse, texts)
    whole = sketched_rows(warehouse)
    for shard in sorted((tmp_path / "warehouse" / "sketches").glob("*.parquet")):
        content = bytearray(shard.read_bytes())
        content[len(content) // 2] ^= 1
        if damage == "missing":
            shard.unlink()
        else:
            shard.write_bytes(content if damage == "edited" else content[:-20])
    again = type(warehouse.sketches)(warehouse.sketches.folder)  # as a new process sees it
    warehouse.sketches = again

    assert found_in(warehouse, texts).equals(expected)

    assert sketched_rows(warehouse) == whole
    cursor = warehouse.cursor()
    shards = dict(cursor.execute("select sketch_shard, sha256 from sketch_shards").fetchall())
    cursor.close()
    assert len(type(again)(again.folder).verified_paths(shards)) == len(whole)


def test_no_documents_have_no_near_duplicates(warehouse):
    assert found_in(warehouse, []).num_rows == 0
    assert found_in(warehouse, ["alone in the world"]).num_rows == 0


def test_nothing_is_left_in_the_scratch_folder(warehouse, texts):
    leftover = warehouse.root / "spill" / "near_dedup"
    leftover.mkdir(parents=True)
    (leftover / "keys").write_bytes(b"of a run that was killed")
    found_in(warehouse, texts[:30])
    assert not leftover.exists()
