"""Facility location compared: what agreement means, and environments of other packages."""

import sys
from pathlib import Path

import numpy as np
import pytest

from databourse.coverage.facility_location import exact_cover, greedy_cover


@pytest.fixture(scope="module")
def coverage():
    """Return the modules of the comparison, which import others of the benchmarks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(Path(__file__).parents[2]), *sys.path])
        from benchmarks.coverage import compare_facility_location, environments, similarities

        yield compare_facility_location, environments, similarities.similarities


def unit(n, dimensions, seed):
    rows = np.random.default_rng(seed).normal(size=(n, dimensions))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_the_matrix_of_three_directions_is_that_computed_by_hand(coverage):
    _, _, similarities = coverage
    rows = np.array([[1, 0], [3, 4], [-2, 0]], dtype=np.float32)
    expected = [[1.0, 0.6, 0.0], [0.6, 1.0, 0.0], [0.0, 0.0, 1.0]]  # -0.6 and -1 count as 0
    np.testing.assert_array_equal(similarities(rows), expected)


def test_blocks_of_rows_give_the_same_matrix(coverage, monkeypatch):
    _, _, similarities = coverage
    rows = unit(70, 5, seed=1)
    whole = similarities(rows)
    monkeypatch.setitem(similarities.__globals__, "_BLOCK_ROWS", 13)
    np.testing.assert_array_equal(similarities(rows), whole)
    np.testing.assert_array_equal(whole, whole.T)


def test_a_greedy_choice_has_no_shortfall_and_another_has_what_it_adds_less(coverage):
    comparison, _, _ = coverage
    matrix = np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.25], [0.0, 0.25, 1.0]])
    # at first they add 1.5, 1.75, 1.25; after 1 is there 0.5, 0, 0.75
    assert comparison.largest_shortfall([1, 2, 0], matrix) == 0.0
    assert comparison.largest_shortfall([1, 0, 2], matrix) == 0.25
    assert comparison.largest_shortfall([2, 1, 0], matrix) == 0.5


@pytest.mark.parametrize("seed", range(5))
def test_the_shortfall_is_that_of_looking_at_every_document_at_every_step(coverage, seed):
    comparison, _, similarities = coverage
    matrix = similarities(unit(30, 4, seed))
    picks = np.random.default_rng(seed).permutation(30)[:12].tolist()
    best, slow = np.zeros(30), 0.0
    for pick in picks:
        adds = np.maximum(matrix - best, 0).sum(axis=1)
        slow = max(slow, float(adds.max() - adds[pick]))
        best = np.maximum(best, matrix[pick])
    assert comparison.largest_shortfall(picks, matrix) == pytest.approx(slow, abs=1e-12)
    assert slow > 0.1


def test_what_the_product_chooses_is_greedy_by_the_matrix_of_the_peers(coverage):
    comparison, _, similarities = coverage
    rows = unit(120, 6, seed=7)
    costs = np.ones(120, dtype=np.int64)
    picks = greedy_cover(exact_cover(rows), costs=costs, budget=40, length_bias=0.0).tolist()
    assert comparison.largest_shortfall(picks, similarities(rows)) < 1e-9


def test_agreement_tells_order_and_value_apart(coverage):
    comparison, _, _ = coverage
    matrix = np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.25], [0.0, 0.25, 1.0]])
    assert comparison.agreement([1, 2], [1, 2], matrix) == {
        "same_in_order": 2,
        "same": 2,
        "value_ratio": 1.0,
        "largest_shortfall": 0.0,
    }
    found = comparison.agreement([0, 1], [2, 1], matrix)
    assert (found["same_in_order"], found["same"]) == (0, 1)
    assert found["value_ratio"] == pytest.approx(2.25 / 2.5)  # 1 + 1 + 0.25 and 0.5 + 1 + 1


@pytest.mark.parametrize("picks", [[1, 1], [1]])
def test_a_choice_that_is_no_set_of_that_size_is_refused(coverage, picks):
    comparison, _, _ = coverage
    with pytest.raises(ValueError, match="a choice must be 2 distinct positions"):
        comparison.agreement(picks, [0, 1], np.eye(2))


def test_ratios_are_taken_within_a_round_and_memory_is_above_the_vectors(coverage):
    comparison, _, _ = coverage

    def run(prepare, choose):
        costs = [
            {"wall_seconds": 2 * cpu, "cpu_seconds": cpu, "peak_bytes": peak}
            for cpu, peak in (prepare, choose)
        ]
        return {"prepare": costs[0], "choose": costs[1], "bytes_before": 100}

    yardstick = [run((1.0, 300), (1.0, 250)), run((9.0, 300), (1.0, 250))]
    mine = [run((3.0, 400), (3.0, 700)), run((1.0, 500), (4.0, 400))]
    found = comparison.costs_of(mine, yardstick)
    assert found["times_whole_cpu"] == {"median": 1.75, "least": 0.5, "most": 3.0}
    assert found["times_choose_cpu"] == {"median": 3.5, "least": 3.0, "most": 4.0}
    assert found["wall_seconds"]["most"] == 12.0
    assert found["bytes_above_input"] == {"median": 500, "least": 400, "most": 600}


def test_a_package_that_cannot_be_installed_is_told_with_what_pip_says(coverage, tmp_path):
    _, environments, _ = coverage
    (tmp_path / "requirements-nothing.txt").write_text("./no-such-folder-of-a-package\n")
    made = tmp_path / "made"
    with pytest.raises(
        environments.NoEnvironmentError, match=r"nothing cannot be installed: .*no-such"
    ):
        environments.peer_python("nothing", environments=made, requirements=tmp_path)
    assert not (made / "nothing" / "made_from.txt").exists()  # so it is tried again


def test_an_environment_is_made_once_and_anew_when_its_list_changes(coverage, tmp_path):
    _, environments, _ = coverage
    listed = tmp_path / "requirements-empty.txt"
    mark = tmp_path / "made" / "empty" / "mark"

    def make():
        python = environments.peer_python(
            "empty", environments=tmp_path / "made", requirements=tmp_path
        )
        assert python.is_file()

    listed.write_text("# nothing\n")
    make()
    mark.touch()
    make()
    assert mark.exists()
    listed.write_text("# nothing at all\n")
    make()
    assert not mark.exists()


def test_every_peer_has_a_list_in_which_each_package_has_one_exact_version(coverage):
    comparison, environments, _ = coverage
    for candidate in comparison.CANDIDATES.values():
        if candidate.package is None:
            continue
        path = environments.REQUIREMENTS / f"requirements-{candidate.package}.txt"
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        names = [line.partition("==")[0] for line in lines]
        assert candidate.package in names
        assert len(set(names)) == len(names)
        assert all(line.partition("==")[2].replace(".", "").isdigit() for line in lines)
