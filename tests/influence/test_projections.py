import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from databourse.errors import InputError
from databourse.influence.projecting import Projector
from databourse.influence.projections import Projection

_SHAPES = {"first": (5, 7), "second": (3, 4)}
_SUMMED = [
    Projection(kind="sjlt", seed=11, size=24, nonzeros=4),
    Projection(kind="rademacher", seed=11, size=24),
    Projection(kind="gaussian", seed=11, size=24),
]
_WRITTEN = {
    "signs": [[-1.0, -1.0, -1.0, 1.0], [-1.0, 1.0, -1.0, 1.0]],
    "sparse": [[0, 87], [2, 61]],
    "values": [[1.0, -1.0], [1.0, 1.0]],
    "normal": [-0.28297856, -0.4099991, 0.52459097],
    "side": [-1.0, -1.0, -1.0, -1.0],
}
_TWO_SIDED = Projection(kind="two_sided", seed=11, size=4)


def reseeded(projection, seed):
    return Projection(
        kind=projection.kind, seed=seed, size=projection.size, nonzeros=projection.nonzeros
    )


@pytest.mark.parametrize("projection", _SUMMED, ids=lambda each: each.kind)
def test_inner_products_are_kept_on_average_with_the_variance_of_johnson_and_lindenstrauss(
    projection,
):
    rng = np.random.default_rng(0)
    a = rng.standard_normal(60)
    b = 0.6 * a + rng.standard_normal(60)
    n_seeds = 3_000
    found = np.empty(n_seeds)
    for seed in range(n_seeds):
        p = reseeded(projection, seed).dense("layer", 0, 60).astype(float)
        found[seed] = (a @ p) @ (b @ p)
    exact = a @ b
    variance = ((a @ a) * (b @ b) + exact**2) / projection.size
    assert abs(found.mean() - exact) < 4 * np.sqrt(variance / n_seeds)
    # signs leave out coordinates' own part: 2 sum a^2 b^2, here 5 % of it; sampling is 3 %
    assert found.var() == pytest.approx(variance, rel=0.2)


def test_a_two_sided_projection_keeps_inner_products_on_average():
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 5, 7))
    b += 0.8 * a
    found = []
    for seed in range(3_000):
        own = reseeded(_TWO_SIDED, seed)
        p_out, p_in = own.side("layer", "out", 5), own.side("layer", "in", 7)
        found.append(((p_out.T @ a @ p_in) * (p_out.T @ b @ p_in)).sum())
    assert abs(np.mean(found) - (a * b).sum()) < 4 * np.std(found) / np.sqrt(3_000)


def test_entries_have_the_scale_that_their_kind_says():
    signs = Projection(kind="rademacher", seed=1, size=16).dense("layer", 0, 500)
    assert set(np.unique(signs)) == {-0.25, 0.25}
    assert abs(signs.mean()) < 4 * 0.25 / np.sqrt(signs.size)
    sparse = Projection(kind="sjlt", seed=1, size=12, nonzeros=4).dense("layer", 0, 500)
    assert set(np.unique(sparse)) == {-0.5, 0, 0.5}
    parts = (sparse.reshape(500, 4, 3) != 0).sum(axis=2)
    np.testing.assert_array_equal(parts, 1)  # one output in each of four equal parts
    counts = (sparse != 0).sum(axis=0)
    assert np.abs(counts - 500 / 3).max() < 4 * np.sqrt(500 * 2 / 9)
    normal = Projection(kind="gaussian", seed=1, size=25).dense("layer", 0, 4_000) * 5
    assert abs(normal.mean()) < 4 / np.sqrt(normal.size)
    assert normal.var() == pytest.approx(1, abs=4 * np.sqrt(2 / normal.size))
    assert (normal**4).mean() == pytest.approx(3, abs=4 * np.sqrt(96 / normal.size))
    assert set(np.unique(_TWO_SIDED.side("layer", "out", 9))) == {-0.5, 0.5}
    assert _TWO_SIDED.side("layer", "out", 3).shape == (3, 3)


@given(
    place=st.sampled_from(range(3)),
    cuts=st.lists(st.integers(min_value=0, max_value=90), max_size=6),
)
def test_entries_do_not_depend_on_the_blocks_they_are_made_in(place, cuts):
    projection = _SUMMED[place]
    whole = projection.dense("layer", 0, 90)
    edges = [0, *sorted(cuts), 90]
    parts = [projection.dense("layer", start, stop) for start, stop in itertools.pairwise(edges)]
    assert np.concatenate(parts).tobytes() == whole.tobytes()


@pytest.mark.parametrize("projection", _SUMMED, ids=lambda each: each.kind)
def test_features_do_not_depend_on_rows_at_a_time_or_threads(projection):
    shapes = {"wide": (130, 140), "small": (3, 4)}  # more than a block of coordinates
    rng = np.random.default_rng(2)
    gradients = {
        name: rng.standard_normal((21, *shape)).astype(np.float32) for name, shape in shapes.items()
    }
    whole = Projector(projection, shapes).of_gradients(gradients)
    shared = Projector(projection, shapes)
    met = threading.Barrier(3)

    def part(rows):
        if rows[0] < 3:
            met.wait()
        return shared.of_gradients({name: each[list(rows)] for name, each in gradients.items()})

    cuts = [(0,), (1,), (2, 3, 4), tuple(range(5, 21))]
    with ThreadPoolExecutor(3) as pool:
        parts = list(pool.map(part, cuts))
    assert np.concatenate(parts).tobytes() == whole.tobytes()
    before = torch.get_num_threads()
    torch.set_num_threads(1 if before > 1 else 2)
    try:
        other = Projector(projection, shapes).of_gradients(gradients)
    finally:
        torch.set_num_threads(before)
    assert other.tobytes() == whole.tobytes()
    expected = sum(
        gradients[name].reshape(21, -1).astype(float)
        @ projection.dense(name, 0, np.prod(shape)).astype(float)
        for name, shape in shapes.items()
    )
    np.testing.assert_allclose(whole, expected, atol=2e-6 * np.abs(expected).max())


def test_a_two_sided_projection_of_gradients_is_the_kronecker_product():
    rng = np.random.default_rng(3)
    gradients = {
        name: rng.standard_normal((6, *shape)).astype(np.float32) for name, shape in _SHAPES.items()
    }
    expected = []
    for name, (d_out, d_in) in _SHAPES.items():
        both = np.kron(_TWO_SIDED.side(name, "out", d_out), _TWO_SIDED.side(name, "in", d_in))
        expected.append(gradients[name].reshape(6, -1) @ both)
    found = Projector(_TWO_SIDED, _SHAPES).of_gradients(gradients)
    np.testing.assert_allclose(found, np.concatenate(expected, axis=1), atol=1e-5)
    assert _TWO_SIDED.blocks(_SHAPES) == {"first": 16, "second": 12}


def test_streams_of_seeds_layers_and_kinds_have_nothing_in_common():
    n_entries = 24 * 400
    tables = [
        reseeded(projection, seed).dense(layer, 0, 400).ravel()
        for projection in _SUMMED
        for seed in (11, 12)
        for layer in ("first", "second")
    ]
    correlations = np.corrcoef(tables)
    assert np.abs(correlations - np.eye(len(tables))).max() < 5 / np.sqrt(n_entries)
    out, inner = (_TWO_SIDED.side("layer", side, 400).ravel() for side in ("out", "in"))
    assert abs(np.corrcoef(out, inner)[0, 1]) < 5 / np.sqrt(out.size)


def test_entries_are_those_that_were_written_down():
    """A change of numpy, of the streams or of scales must be seen: stored features depend on it."""
    signs = Projection(kind="rademacher", seed=5, size=4).dense("h.0", 1, 3)
    sparse, values = Projection(kind="sjlt", seed=5, size=100, nonzeros=2).sparse("h.0", 1, 3)
    normal = Projection(kind="gaussian", seed=5, size=3).dense("h.0", 1, 2)
    side = Projection(kind="two_sided", seed=5, size=4).side("h.0", "in", 6)[5]
    assert (signs * 2).tolist() == _WRITTEN["signs"]
    assert sparse.tolist() == _WRITTEN["sparse"]
    assert np.sign(values).tolist() == _WRITTEN["values"]
    np.testing.assert_allclose(normal[0], _WRITTEN["normal"], rtol=1e-6)
    assert (side * 2).tolist() == _WRITTEN["side"]


@pytest.mark.parametrize("projection", [*_SUMMED, _TWO_SIDED], ids=lambda each: each.kind)
def test_the_fingerprint_tells_seeds_and_layers_apart(projection):
    own = projection.fingerprint(_SHAPES)
    assert len(own) == 16
    assert all(own)
    assert own == projection.fingerprint(dict(_SHAPES))
    assert own != reseeded(projection, 12).fingerprint(_SHAPES)
    assert own != projection.fingerprint({"first": (5, 7), "third": (3, 4)})
    assert own != projection.fingerprint({"first": (5, 8), "second": (3, 4)})


@pytest.mark.parametrize("projection", [*_SUMMED, _TWO_SIDED], ids=lambda each: each.kind)
def test_the_fingerprint_is_that_of_the_features_of_a_fixed_gradient(projection):
    shapes = {"wide": (40, 50), "second": (3, 4)}
    gradients = {}
    for name, shape in shapes.items():
        gradients[name] = np.zeros((1, *shape), dtype=np.float32)
        for i in range(min(32, shape[0])):
            for j in range(min(32, shape[1])):
                gradients[name][0, i, j] = np.cos(i + 2 * j)
    features = Projector(projection, shapes).of_gradients(gradients)[0].astype(float)
    expected = [features[m::16].sum() for m in range(16)]
    np.testing.assert_allclose(projection.fingerprint(shapes), expected, atol=1e-4)


def test_identities_differ_with_all_that_decides_features():
    own = _SUMMED[0]
    others = [
        (reseeded(own, 12), _SHAPES),
        (Projection(kind="sjlt", seed=11, size=24, nonzeros=2), _SHAPES),
        (Projection(kind="sjlt", seed=11, size=28, nonzeros=4), _SHAPES),
        (_SUMMED[1], _SHAPES),
        (own, {"second": (3, 4), "first": (5, 7)}),
        (own, {"first": (5, 7), "second": (4, 3)}),
    ]
    found = {each.identity(shapes) for each, shapes in [(own, _SHAPES), *others]}
    assert len(found) == 7


def test_gradients_of_other_layers_are_refused():
    projector = Projector(_TWO_SIDED, _SHAPES)
    good = {name: np.zeros((2, *shape), dtype=np.float32) for name, shape in _SHAPES.items()}
    with pytest.raises(InputError, match="expected gradients of layers"):
        projector.of_gradients({"first": good["first"]})
    with pytest.raises(InputError, match="as many gradients"):
        projector.of_gradients({**good, "second": good["second"][:1]})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "dense", "seed": 1, "size": 4}, "must be one of"),
        ({"kind": "gaussian", "seed": -1, "size": 4}, "seed"),
        ({"kind": "gaussian", "seed": 1, "size": 0}, "size"),
        ({"kind": "gaussian", "seed": 1, "size": 4, "nonzeros": 2}, "'sjlt' alone"),
        ({"kind": "sjlt", "seed": 1, "size": 4}, "'sjlt' alone"),
        ({"kind": "sjlt", "seed": 1, "size": 4, "nonzeros": 3}, "divide"),
        ({"kind": "sjlt", "seed": 1, "size": 4, "nonzeros": 0}, "divide"),
    ],
)
def test_a_projection_outside_its_domain_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        Projection(**fields)
