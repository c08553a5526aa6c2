"""The HTTP backend against a server process: nothing is lost, nothing counted twice."""

import collections
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("httpx", reason="the extra 'pipeline' is not installed")

from databourse.ask_llm import PAPER_PROMPT, QualityScore
from databourse.ask_llm.endpoint_backend import score_through_endpoint
from databourse.ask_llm.endpoint_settings import EndpointSettings
from databourse.ask_llm.results import Cost

SERVER = Path(__file__).with_name("endpoint_server.py")
KINDS = {"500", "429", "malformed", "reset", "drip", "empty", "good"}


@pytest.fixture
def server(tmp_path):
    """A server in a process of its own: its address, and a function that reads its log."""
    place = tmp_path / "port"
    process = subprocess.Popen([sys.executable, str(SERVER), str(place)])
    try:
        for _ in range(300):
            if place.is_file() and place.read_text():
                break
            time.sleep(0.1)
        yield (
            f"http://127.0.0.1:{place.read_text()}/v1",
            lambda: [json.loads(line) for line in Path(f"{place}.log").read_text().splitlines()],
        )
    finally:
        process.kill()
        process.wait()


def test_every_trouble_of_a_server_ends_in_one_answer_and_the_bill_is_the_servers(server):
    url, log = server
    endpoint = EndpointSettings(
        base_url=url,
        model="m",
        concurrency=8,
        timeout_seconds=0.7,
        backoff_seconds=0.01,
        max_attempts=4,
    )
    documents = [(f"id{number}", f"the text of doc-{number} .") for number in range(60)]
    outcomes = list(
        score_through_endpoint(
            documents, prompt=PAPER_PROMPT, endpoint=endpoint, rng=np.random.default_rng(0)
        )
    )

    assert sorted(each.document_id for each in outcomes) == sorted(name for name, _ in documents)
    assert all(isinstance(each, QualityScore) for each in outcomes)
    assert {round(each.p_yes.low, 12) for each in outcomes} == {0.6}
    requests = log()
    assert {each["kind"] for each in requests} == KINDS
    spent = sum((each.cost for each in outcomes), Cost())
    assert spent.requests == len(requests)
    assert spent.prompt_tokens == sum(each["told"] for each in requests) == 60 * 120
    assert spent.unreported_requests == sum(each["kind"] != "good" for each in requests)
    by_document = collections.Counter(each["document"] for each in requests)
    assert {each.document_id: each.cost.requests for each in outcomes} == {
        f"id{number}": count for number, count in by_document.items()
    }
