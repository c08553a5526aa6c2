import dataclasses
import json
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from scipy.stats import spearmanr

from databourse.digests import digest_of_lines
from databourse.errors import InputError, IntegrityError
from databourse.influence.feature_files import (
    BATCHES_FILE,
    FEATURES_FILE,
    IDS_FILE,
    MANIFEST_FILE,
    OUT_TO_LOSS_FILE,
    SCALES_FILE,
)
from databourse.influence.feature_manifest import (
    FeatureManifest,
    check_comparable,
    feature_manifest,
    manifest_from_json,
    parameter_digest,
)
from databourse.influence.feature_store import (
    feature_writer,
    fill_features,
    read_feature_manifest,
    read_features,
)
from databourse.influence.layers import tracked_layers
from databourse.influence.per_example import gradient_features
from databourse.influence.projections import Projection
from databourse.influence.weighted_documents import whole_documents
from databourse.manifests.seals import seal, unseal

_PROJECTION = Projection(kind="two_sided", seed=3, size=3)
_N, _BATCH = 23, 5


@pytest.fixture
def ids():
    return tuple(f"{place:032x}" for place in range(_N))


@pytest.fixture
def make_manifest(tiny_model, ids):
    def make(**changes):
        chosen = {
            "pool": "tiny",
            "weighting": "whole documents",
            "layers": tracked_layers(tiny_model, "all"),
            "projection": _PROJECTION,
            "output": "margin",
            "precision": "float32",
            "batch_documents": _BATCH,
        }
        return feature_manifest(tiny_model, ids, **{**chosen, **changes})

    return make


@pytest.fixture
def documents_of(tiny_model, tiny_texts):
    """Return ids to documents; it counts how often each was asked for."""
    documents = whole_documents(tiny_model, tiny_texts[:_N])

    def of(asked):
        of.asked += [int(each, 16) for each in asked]
        return [documents[int(each, 16)] for each in asked]

    of.asked = []
    return of


@pytest.fixture
def fill(tmp_path, tiny_model, ids, make_manifest, documents_of):
    """Return a function that fills a store in a folder and gives the folder and the manifest."""

    def fill(name="store", of=documents_of, **changes):
        manifest = make_manifest(**changes)
        writer = feature_writer(tmp_path / name, manifest, ids)
        fill_features(writer, tiny_model, of, batch_tokens=64, threads=1)
        return tmp_path / name, manifest

    return fill


def contents(folder):
    return {each.name: each.read_bytes() for each in folder.iterdir()}


def flip(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(bytes(data))


def whole(folder, manifest, batch_documents=100):
    blocks = list(read_features(folder, expected=manifest).blocks(batch_documents))
    ids = sum((each.document_ids for each in blocks), ())
    return ids, *(np.concatenate([each[part] for each in blocks]) for part in (1, 2))


def test_what_is_read_is_what_was_computed(fill, ids, tiny_model, tiny_texts):
    folder, manifest = fill()
    found_ids, features, out_to_loss = whole(folder, manifest)
    assert found_ids == ids
    for found in gradient_features(
        tiny_model,
        whole_documents(tiny_model, tiny_texts[:_N]),
        layers=tracked_layers(tiny_model, "all"),
        projection=_PROJECTION,
        output="margin",
        batch_tokens=10_000,
        threads=1,
    ):
        for row, position in enumerate(found.positions):
            scale = np.abs(found.features[row]).max()
            np.testing.assert_allclose(
                features[position], found.features[row], atol=1e-5 * scale
            )  # another batch: float32 rounds otherwise
            assert out_to_loss[position] == pytest.approx(found.out_to_loss[row], rel=1e-5)


@pytest.mark.parametrize("batch_documents", [1, 4, 5, 7, 23, 1_000])
def test_blocks_of_any_size_hold_the_same_rows_in_order(fill, ids, batch_documents):
    folder, manifest = fill()
    expected = np.fromfile(folder / FEATURES_FILE, "<f4").reshape(_N, manifest.k)
    blocks = list(read_features(folder, expected=manifest).blocks(batch_documents))
    sizes = [len(each.features) for each in blocks]
    assert max(sizes) == min(batch_documents, _N)
    assert len(set(sizes[:-1])) <= 1
    np.testing.assert_array_equal(np.concatenate([each.features for each in blocks]), expected)
    assert sum((each.document_ids for each in blocks), ()) == ids


def test_a_run_killed_between_batches_resumes_with_what_is_left(
    tmp_path, fill, tiny_model, ids, documents_of
):
    folder, manifest = fill()
    expected = contents(folder)
    documents_of.asked.clear()

    def until_third(asked):
        if len(documents_of.asked) >= 2 * _BATCH:
            raise KeyboardInterrupt
        return documents_of(asked)

    writer = feature_writer(tmp_path / "killed", manifest, ids)
    with pytest.raises(KeyboardInterrupt):
        fill_features(writer, tiny_model, until_third, batch_tokens=64, threads=1)
    assert documents_of.asked == list(range(10))
    told = []
    writer = feature_writer(tmp_path / "killed", manifest, ids)
    assert writer.unfinished() == [2, 3, 4]
    fill_features(
        writer, tiny_model, documents_of, batch_tokens=64, threads=1, progress=told.append
    )
    assert documents_of.asked == list(range(_N))  # the first ten once
    assert told == [10, 5, 5, 3]
    assert contents(tmp_path / "killed") == expected


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_batch_whose_digest_was_not_reached_is_computed_again(
    fill, tiny_model, ids, documents_of, precision
):
    folder, manifest = fill(precision=precision)
    expected = contents(folder)
    width = manifest.k * {"float32": 4, "float16": 2}[precision]
    for batch in (0, 3):  # killed after some rows, before the digest
        digests = bytearray((folder / BATCHES_FILE).read_bytes())
        digests[32 * batch : 32 * batch + 32] = bytes(32)
        (folder / BATCHES_FILE).write_bytes(bytes(digests))
        flip(folder / FEATURES_FILE, batch * _BATCH * width + 7)
        documents_of.asked.clear()
        with pytest.raises(IntegrityError, match="lacks 1 of 5 batches"):
            read_features(folder, expected=manifest)
        writer = feature_writer(folder, manifest, ids)
        assert writer.unfinished() == [batch]
        fill_features(writer, tiny_model, documents_of, batch_tokens=64, threads=1)
        assert documents_of.asked == list(range(batch * 5, batch * 5 + 5))
        assert contents(folder) == expected


def test_a_store_that_was_half_made_is_made_again(tmp_path, fill, ids, make_manifest):
    expected = contents(fill("whole")[0])
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / FEATURES_FILE).write_bytes(b"123")
    (tmp_path / "half" / SCALES_FILE).write_bytes(b"123")
    assert contents(fill("half")[0]) == expected


@pytest.mark.parametrize(
    ("name", "offset"),
    [(FEATURES_FILE, 1_001), (OUT_TO_LOSS_FILE, 3), (BATCHES_FILE, 40), (SCALES_FILE, 90)],
)
def test_one_changed_bit_is_found_and_its_file_named(fill, ids, name, offset):
    folder, manifest = fill(precision="float16")
    flip(folder / name, offset)
    store = read_features(folder, expected=manifest)
    for read in (store.verify, lambda: list(store.blocks(4))):
        with pytest.raises(IntegrityError, match=name.replace(".", r"\.")):
            read()
    with pytest.raises(IntegrityError):
        feature_writer(folder, manifest, ids)


def test_scales_that_were_exchanged_whole_are_found(fill):
    folder, manifest = fill(precision="float16")
    content = unseal((folder / SCALES_FILE).read_bytes())
    content["scales"] = [2 * each for each in content["scales"]]
    (folder / SCALES_FILE).write_bytes(seal(content))
    with pytest.raises(IntegrityError, match="rows 0 to 4"):
        read_features(folder, expected=manifest).verify()


@pytest.mark.parametrize("name", [MANIFEST_FILE, IDS_FILE])
def test_a_changed_manifest_or_list_of_ids_is_found_at_once(fill, ids, name):
    folder, manifest = fill()
    flip(folder / name, 200)
    with pytest.raises(IntegrityError, match=name.replace(".", r"\.")):
        read_features(folder, expected=manifest)
    with pytest.raises(IntegrityError, match=name.replace(".", r"\.")):
        feature_writer(folder, manifest, ids)


@pytest.mark.parametrize("name", [FEATURES_FILE, OUT_TO_LOSS_FILE, BATCHES_FILE])
@pytest.mark.parametrize("gone", [False, True])
def test_a_truncated_or_missing_file_is_named(fill, ids, name, gone):
    folder, manifest = fill()
    data = (folder / name).read_bytes()
    (folder / name).unlink()
    if not gone:
        (folder / name).write_bytes(data[:-1])
    with pytest.raises(IntegrityError, match=rf"{name}.* expected {len(data):,}"):
        read_features(folder, expected=manifest)
    with pytest.raises(IntegrityError, match=name):
        feature_writer(folder, manifest, ids)


def test_rows_of_another_store_are_found(fill):
    folder, manifest = fill()
    other, _ = fill("other", projection=dataclasses.replace(_PROJECTION, seed=4))
    for name in (FEATURES_FILE, OUT_TO_LOSS_FILE, BATCHES_FILE):
        (folder / name).write_bytes((other / name).read_bytes())
    with pytest.raises(IntegrityError, match="rows 0 to 4"):
        list(read_features(folder, expected=manifest).blocks(4))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"projection": dataclasses.replace(_PROJECTION, seed=4)}, "fingerprint, projection"),
        ({"output": "loss"}, "output"),
        ({"precision": "float16"}, "precision"),
        ({"weighting": "completions"}, "weighting"),
        ({"pool": "other"}, "pool"),
        ({"batch_documents": 6}, "batch_documents"),
    ],
)
def test_features_of_another_manifest_are_refused(fill, ids, make_manifest, changes, field):
    folder, _ = fill()
    other = make_manifest(**changes)
    with pytest.raises(InputError, match=rf"differ in {field};"):
        read_features(folder, expected=other)
    with pytest.raises(InputError, match=rf"differ in {field};"):
        feature_writer(folder, other, ids)


def test_features_of_another_checkpoint_are_refused(fill, make_model, ids, make_manifest):
    folder, manifest = fill()
    other = make_model(seed=9)
    theirs = feature_manifest(
        other,
        ids,
        pool="tiny",
        weighting="whole documents",
        layers=tracked_layers(other, "all"),
        projection=_PROJECTION,
        output="margin",
        precision="float32",
        batch_documents=_BATCH,
    )
    with pytest.raises(InputError, match="differ in model_id, parameters"):
        read_features(folder, expected=theirs)
    with pytest.raises(InputError, match="parameters"):
        check_comparable(manifest, theirs)
    check_comparable(manifest, make_manifest(pool="target", weighting="completions"))
    with pytest.raises(InputError, match="layers"):
        check_comparable(manifest, make_manifest(layers=tracked_layers(other, "mlp")))


def test_a_model_with_other_parameters_may_not_fill_a_store(
    tmp_path, make_model, ids, make_manifest, documents_of
):
    writer = feature_writer(tmp_path / "store", make_manifest(), ids)
    with pytest.raises(InputError, match="other parameters"):
        fill_features(writer, make_model(seed=9), documents_of, batch_tokens=64, threads=1)
    assert writer.unfinished() == [0, 1, 2, 3, 4]


def test_one_changed_weight_changes_the_digest_of_the_parameters(make_model):
    model, other = make_model(seed=5), make_model(seed=5)
    assert parameter_digest(model) == parameter_digest(other)
    next(other.module.parameters()).data[0, 0] += 1e-6
    assert parameter_digest(model) != parameter_digest(other)


def test_a_manifest_survives_json_and_tells_a_changed_one(make_manifest):
    manifest = make_manifest(
        projection=Projection(kind="sjlt", seed=1, size=32, nonzeros=4), precision="float16"
    )
    content = json.loads(json.dumps(manifest.as_json()))
    assert content["orientation"] == "larger_is_better"
    assert manifest_from_json(content) == manifest
    for name, value in (("orientation", "smaller"), ("revision", 0), ("k", None)):
        with pytest.raises(IntegrityError):
            manifest_from_json({**content, name: value})
    del content["layers"]
    with pytest.raises(IntegrityError, match="layers"):
        manifest_from_json(content)


@pytest.mark.parametrize(
    "projection", [_PROJECTION, Projection(kind="sjlt", seed=1, size=128, nonzeros=4)]
)
def test_float16_keeps_the_order_of_scores(fill, tiny_model, projection):
    exact, in_half = (
        whole(*fill(precision, precision=precision, projection=projection))[1]
        for precision in ("float32", "float16")
    )
    assert not np.array_equal(exact, in_half)
    target = exact.mean(axis=0)
    kernel = exact.T.astype(float) @ exact + 0.1 * np.eye(exact.shape[1]) * (exact**2).sum()
    for weights in (target, np.linalg.solve(kernel, target)):
        assert spearmanr(exact @ weights, in_half @ weights).statistic >= 0.999


def test_float16_keeps_layers_whose_gradients_are_tiny(tmp_path, ids, make_manifest):
    manifest = make_manifest(precision="float16", batch_documents=_N)
    features = np.random.default_rng(0).standard_normal((_N, manifest.k)).astype(np.float32)
    features[:, :9] *= 1e-9  # below the least number of float16
    features[:, 9:18] *= 1e9  # above the largest
    features[:, 18:27] = 0
    feature_writer(tmp_path / "store", manifest, ids).write(0, features, np.ones(_N))
    _, found, _ = whole(tmp_path / "store", manifest)
    for part in (slice(0, 9), slice(9, 18), slice(18, None)):
        scale = np.sqrt((features[:, part] ** 2).mean())
        np.testing.assert_allclose(found[:, part], features[:, part], atol=2e-3 * scale)


def test_float16_refuses_what_would_overflow(tmp_path, ids, make_manifest):
    writer = feature_writer(tmp_path / "store", make_manifest(precision="float16"), ids)
    rows = np.ones((_BATCH, writer.manifest.k), dtype=np.float32)
    with pytest.raises(InputError, match="first batch"):
        writer.write(1, rows, np.ones(_BATCH))
    writer.write(0, rows, np.ones(_BATCH))
    rows[2, 4] = 70_000
    with pytest.raises(InputError, match=rf"feature 4 of document {ids[7]} .* float32"):
        writer.write(1, rows, np.ones(_BATCH))
    assert writer.unfinished() == [1, 2, 3, 4]


def test_what_is_not_a_whole_finite_batch_is_refused(tmp_path, ids, make_manifest):
    writer = feature_writer(tmp_path / "store", make_manifest(), ids)
    rows = np.ones((_BATCH, writer.manifest.k), dtype=np.float32)
    with pytest.raises(InputError, match="shape"):
        writer.write(0, rows[1:], np.ones(_BATCH - 1))
    broken = rows.copy()
    broken[1, 1] = np.nan
    with pytest.raises(InputError, match="finite"):
        writer.write(0, broken, np.ones(_BATCH))
    writer.write(0, rows, np.ones(_BATCH))
    with pytest.raises(InputError, match="not one that is unfinished"):
        writer.write(0, rows, np.ones(_BATCH))


def test_ids_must_ascend_and_be_those_of_the_manifest(tmp_path, tiny_model, ids, make_manifest):
    with pytest.raises(InputError, match="ascend"):
        feature_manifest(
            tiny_model,
            ids[::-1],
            pool="tiny",
            weighting="whole documents",
            layers=tracked_layers(tiny_model, "all"),
            projection=_PROJECTION,
            output="loss",
            precision="float32",
            batch_documents=5,
        )
    with pytest.raises(InputError, match="not the 23"):
        feature_writer(tmp_path / "store", make_manifest(), ids[1:])
    assert not (tmp_path / "store").exists()


def test_a_folder_without_features_says_so(tmp_path, make_manifest):
    with pytest.raises(IntegrityError, match="holds no features"):
        read_features(tmp_path, expected=make_manifest())


def test_a_manifest_can_be_read_alone(fill):
    folder, manifest = fill()
    assert read_feature_manifest(folder) == manifest


def test_reading_in_blocks_takes_the_memory_of_a_few_blocks(tmp_path, tiny_model):
    n, size = 4_000, 1_024
    ids = [f"{place:032x}" for place in range(n)]
    manifest = feature_manifest(
        tiny_model,
        ids,
        pool="tiny",
        weighting="whole documents",
        layers=tracked_layers(tiny_model, "all"),
        projection=Projection(kind="sjlt", seed=1, size=size, nonzeros=4),
        output="loss",
        precision="float32",
        batch_documents=200,
    )
    writer = feature_writer(tmp_path / "store", manifest, ids)
    for batch in writer.unfinished():
        rows = np.full((200, size), batch, dtype=np.float32)
        writer.write(batch, rows, np.ones(200))
    tracemalloc.start()
    total = 0.0
    for block in read_features(tmp_path / "store", expected=manifest).blocks(200):
        total += float(block.features[:, 0].sum())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == 200 * sum(range(20))
    # a block of 200 rows has 0.8 MB, all rows 16 MB; ids and digests come to 1 MB
    assert peak < 6 * 200 * size * 4


def test_a_killed_process_loses_one_batch_at_most(tmp_path, ids):
    program = """
import os, sys
import numpy as np
from pathlib import Path
from databourse.influence.feature_manifest import manifest_from_json
from databourse.influence.feature_store import feature_writer
import json
content, folder = json.loads(sys.argv[1]), Path(sys.argv[2])
ids = [f"{place:032x}" for place in range(content["n"])]
writer = feature_writer(folder, manifest_from_json(content), ids)
for batch in writer.unfinished():
    rows = len(writer.ids_of(batch))
    if batch == 3:
        os.kill(os.getpid(), 9)
    writer.write(batch, np.full((rows, content["k"]), batch, dtype=np.float32), np.ones(rows))
"""
    projection = Projection(kind="sjlt", seed=1, size=32, nonzeros=4)
    manifest = FeatureManifest(
        pool="tiny",
        model_id="none",
        parameters="none",
        tokenizer="none",
        weighting="whole documents",
        layers=(("layer", 4, 4),),
        projection=projection,
        fingerprint=tuple(projection.fingerprint({"layer": (4, 4)})),
        output="loss",
        precision="float32",
        batch_documents=_BATCH,
        documents=digest_of_lines(ids),
        n=_N,
        k=32,
    )
    folder = tmp_path / "store"
    killed = subprocess.run(
        [sys.executable, "-c", program, json.dumps(manifest.as_json()), str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -9, killed.stderr
    writer = feature_writer(folder, manifest, ids)
    assert writer.unfinished() == [3, 4]
    for batch, rows in ((3, 5), (4, 3)):
        writer.write(batch, np.full((rows, 32), batch, dtype=np.float32), np.ones(rows))
    expected = np.repeat(np.arange(5), 5)[:_N]
    np.testing.assert_array_equal(whole(folder, manifest)[1][:, 7], expected)
