"""Settings of the endpoint that misbehaves as it is told."""

import pytest

from databourse.ask_llm.endpoint_settings import EndpointSettings


@pytest.fixture
def settings(endpoint):
    """Return a function that gives settings with short waits."""

    def make(**changes):
        choices = {
            "base_url": endpoint.url,
            "model": "tiny",
            "backoff_seconds": 0.01,
            "timeout_seconds": 5.0,
            "max_failures_in_a_row": 1000,
            "max_attempts": 4,
            "top_logprobs": 5,
            **changes,
        }
        return EndpointSettings(**choices)

    return make
