"""Modules of the benchmarks, which no distribution holds: found by path."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="session")
def benchmark_module():
    """Return a function that imports a module of the benchmarks by its path, such as market/x."""

    def load(path):
        name = f"loaded_{path.replace('/', '_')}"
        if name not in sys.modules:
            spec = importlib.util.spec_from_file_location(name, ROOT / f"{path}.py")
            sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look there
            spec.loader.exec_module(sys.modules[name])
        return sys.modules[name]

    return load


@pytest.fixture(scope="session")
def generated_board(benchmark_module):
    """Return the generator of boards."""
    return benchmark_module("market/generated_board")


@pytest.fixture(scope="session")
def board(generated_board):
    """Return a generated board of 20,000 documents and 8 signals."""
    import pyarrow as pa

    from databourse.market.board import board_of

    shape = generated_board.BoardShape(n_documents=20_000, n_signals=8, seed=17)
    return board_of(pa.concat_tables(generated_board.board_parts(shape)))
