"""Curvatures on disk: what is read is what was written, or it is refused by the file's name."""

import dataclasses
import json
import shutil
import zipfile

import numpy as np
import pytest
import torch

from databourse.errors import InputError, IntegrityError
from databourse.influence.curvature_store import load_curvature, save_curvature
from databourse.influence.eigenbasis import fit_ekfac, kfac
from databourse.influence.kronecker import LayerRecord, fit_covariances
from databourse.influence.second_moment import fit_second_moment

LAYERS = {"blocks.0/up": (5, 3), "../down": (3, 5)}


def _curvature(kind, seed=0):
    rng = np.random.default_rng(seed)
    if kind == "second_moment":
        return fit_second_moment([rng.normal(size=(9, 4))], features_id="m")
    records = [
        LayerRecord(
            layer,
            torch.from_numpy(rng.normal(size=(6, 4, d_in))),
            torch.from_numpy(rng.normal(size=(6, 4, d_out))),
            "sampled",
        )
        for layer, (d_out, d_in) in LAYERS.items()
    ]
    plain = kfac(fit_covariances(records, model_id="m"))
    return plain if kind == "kfac" else fit_ekfac(plain, records, unit="token")


def _flat(curvature):
    """Return everything in a curvature, arrays as bytes."""
    return [
        (name, value.tobytes() if isinstance(value, np.ndarray) else value)
        for name, value in _leaves("", dataclasses.asdict(curvature))
    ]


def _leaves(path, value):
    if isinstance(value, dict):
        return [leaf for key, each in value.items() for leaf in _leaves(f"{path}:{key}", each)]
    return [(path, value)]


@pytest.fixture(params=["kfac", "ekfac", "second_moment"])
def kind(request):
    return request.param


@pytest.fixture
def folder(kind, tmp_path):
    save_curvature(_curvature(kind), tmp_path / "saved")
    return tmp_path / "saved"


def test_a_saved_curvature_comes_back_bit_for_bit(kind, folder):
    loaded = load_curvature(folder, fitted_on="m")

    assert type(loaded) is type(_curvature(kind))
    assert _flat(loaded) == _flat(_curvature(kind))


def test_equal_curvatures_have_equal_digests_and_others_do_not(kind, tmp_path):
    digests = [
        save_curvature(_curvature(kind, seed), tmp_path / f"{number}")
        for number, seed in enumerate((0, 0, 1))
    ]

    assert digests[0] == digests[1] != digests[2]


def test_nothing_is_pickled(folder):
    with zipfile.ZipFile(folder / "arrays.npz") as archive:
        for name in archive.namelist():
            with archive.open(name) as stream:
                assert np.lib.format.read_magic(stream) == (1, 0)
                assert np.lib.format.read_array_header_1_0(stream)[2] == np.dtype(np.float64)
    assert sorted(path.name for path in folder.iterdir()) == ["arrays.npz", "manifest.json"]
    assert sorted(path.name for path in folder.parent.iterdir()) == ["saved"]


def test_the_manifest_says_what_was_fitted_on_what(kind, folder):
    manifest = json.loads((folder / "manifest.json").read_text())

    assert (manifest["kind"], manifest["fitted_on"]) == (kind, "m")
    if kind == "second_moment":
        assert (manifest["n_documents"], manifest["n_tokens"]) == (9, None)
        assert manifest["layers"] == [{"name": "projected", "shape": [4, 4]}]
    else:
        assert (manifest["n_documents"], manifest["n_tokens"]) == (6, 24)
        assert manifest["sample"]["labels"] == "sampled"
        assert manifest["layers"] == [
            {"name": "blocks.0/up", "shape": [5, 3]},
            {"name": "../down", "shape": [3, 5]},
        ]


@pytest.mark.parametrize("name", ["arrays.npz", "manifest.json"])
def test_a_truncated_file_is_refused_by_name(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-20])

    with pytest.raises(IntegrityError, match=f"file .*{name} ") as refused:
        load_curvature(folder, fitted_on="m")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["arrays.npz", "manifest.json"])
def test_a_missing_file_is_refused_by_name(folder, name):
    (folder / name).unlink()

    with pytest.raises(IntegrityError, match=f"{name} is missing; fit the curvature again"):
        load_curvature(folder, fitted_on="m")


def test_one_changed_byte_of_an_array_is_refused(folder):
    content = bytearray((folder / "arrays.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "arrays.npz").write_bytes(content)

    with pytest.raises(IntegrityError, match=r"arrays.npz was truncated, edited or taken from"):
        load_curvature(folder, fitted_on="m")


def test_every_field_of_a_manifest_is_covered_by_its_digest(folder):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    edited = {
        "kind": "kfac" if manifest["kind"] == "ekfac" else "ekfac",
        "unit": "document",
        "fitted_on": "another",
        "n_documents": manifest["n_documents"] + 1,
        "n_tokens": 7,
        "sample": {"model_id": "m", "labels": "data", "n_documents": 6, "n_tokens": 24},
        "basis_sample": {"model_id": "m", "labels": "data", "n_documents": 6, "n_tokens": 24},
        "layers": [*manifest["layers"][::-1], {"name": "more", "shape": [1, 1]}],
        "arrays_sha256": "0" * 64,
        "digest": "0" * 64,
    }

    assert edited.keys() | {"format"} == manifest.keys()
    for name, value in edited.items():
        path.write_text(json.dumps({**manifest, name: value}))
        with pytest.raises(IntegrityError, match=r"manifest.json was edited: its digest is not"):
            load_curvature(folder, fitted_on="m")


@pytest.mark.parametrize(("name", "value"), [("format", 2), ("more", 1), ("layers", "all")])
def test_a_manifest_of_another_form_is_refused(folder, name, value):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))

    with pytest.raises(IntegrityError, match=r"manifest.json is no manifest of a curvature"):
        load_curvature(folder, fitted_on="m")


def test_arrays_of_another_curvature_are_refused(kind, folder, tmp_path):
    save_curvature(_curvature(kind, seed=1), tmp_path / "other")
    shutil.copy(tmp_path / "other" / "arrays.npz", folder / "arrays.npz")

    with pytest.raises(IntegrityError, match=r"arrays.npz was truncated, edited or taken from"):
        load_curvature(folder, fitted_on="m")


def test_a_curvature_of_another_model_is_refused(folder):
    with pytest.raises(InputError, match="fitted on 'm', but is wanted for 'n': their gradients"):
        load_curvature(folder, fitted_on="n")


def test_a_folder_is_never_written_over(kind, folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    with pytest.raises(InputError, match=r"folder .*saved of a curvature exists; save it to a new"):
        save_curvature(_curvature(kind, seed=1), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
