"""Flows run against a temporary Prefect server, once per session: it takes long to start."""

import pytest


@pytest.fixture(scope="session")
def prefect_server():
    """Give flows of this process a Prefect server and database of their own."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=900):
        yield


@pytest.fixture
def refresh(prefect_server):
    """Return the refresh flow as a function of the config's path and overrides."""
    from flows.refresh_pool import refresh_pool

    def run(config_path, *overrides):
        return refresh_pool(str(config_path), list(overrides))

    return run
