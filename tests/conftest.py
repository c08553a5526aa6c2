"""Fixtures of the whole suite: a small pool with real trouble in it; an endpoint; real data."""

import collections
import json
import math
import os
import re
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import settings

settings.register_profile("databourse", derandomize=True, deadline=None)
settings.load_profile("databourse")

_THEMES = {
    "weather": "rain wind storm cloud sun frost snow heat flood drought thunder breeze hail mist",
    "markets": "share bond price trader profit loss bank fund rate yield stock broker index debt",
    "kitchen": "bread oven salt knife soup onion butter flour pepper sauce pan dough spice plate",
    "sailing": "mast sail rope anchor tide harbour keel crew rudder deck wave compass hull port",
}
_COMMON = ("the", "a", "of", "near", "under", "with", "over", "before", "after", "while")


def _sentence(rng, words, length):
    return " ".join(
        str(rng.choice(_COMMON)) if rng.random() < 0.35 else str(rng.choice(words))
        for _ in range(length)
    )


def make_rows(n_documents, seed=0):
    """Return rows {text, label, number}: four themes, 6 to 60 words, 5 % wrong labels."""
    rng = np.random.default_rng(seed)
    themes = list(_THEMES)
    rows = []
    for number in range(n_documents):
        theme = themes[number % len(themes)]
        words = _THEMES[theme].split()
        length = int(rng.integers(6, 60))
        label = str(rng.choice(themes)) if rng.random() < 0.05 else theme
        rows.append({"text": _sentence(rng, words, length), "label": label, "number": number})
    return rows


def with_trouble(rows):
    """Return rows and lines that a pool really meets: copies, near copies, broken lines."""
    lines = [json.dumps(row) for row in rows]
    # exact copies under another label, then near copies of the longest
    lines += [json.dumps({**row, "label": "zebra"}) for row in rows[:5]]
    longest = sorted(rows, key=lambda row: (-len(row["text"]), row["text"]))[:4]
    lines += [json.dumps({**row, "text": row["text"] + " again"}) for row in longest]
    return [*lines, '{"text": broken', '{"text": "   ", "label": "weather", "number": -1}']


@pytest.fixture
def pool_lines():
    """Return a function that gives the lines of a pool: rows, copies, near copies, broken lines."""
    return lambda n_documents=160, seed=0: with_trouble(make_rows(n_documents, seed))


@pytest.fixture(scope="session")
def write_pool():
    """Return a function that writes a pool of 160 documents; it gives the path of the config."""

    def write(root, pool="tiny", lines=None, files=2, **changes):
        data = root / "data"
        data.mkdir(parents=True, exist_ok=True)
        lines = with_trouble(make_rows(160)) if lines is None else lines
        for index in range(files):
            (data / f"part-{index}.jsonl").write_text("\n".join(lines[index::files]) + "\n")
        config = {
            "pool": pool,
            "seed": 17,
            "sources": [
                {"name": "rows", "path": "data/*.jsonl", "text": "{text}", "label": "label"}
            ],
            "encoder": "hashing",
            "topics": {"count": 4, "smallest": 5},
            "signals": ["uncertainty", "rarity", "diversity", "neighbour_agreement", "length"],
            "budget": {"tokens": 900},
            "compute": {"threads": 1, "memory_limit": "500MB", "batch_documents": 40},
            **changes,
        }
        path = root / "pool.yaml"
        path.write_text(yaml.safe_dump(config))
        return path

    return write


@pytest.fixture
def small_pool(tmp_path, write_pool):
    """Return a function that writes such a pool into a folder of the test."""
    return lambda folder=".", **settings: write_pool(tmp_path / folder, **settings)


@pytest.fixture(scope="session")
def data_folder():
    """Return the folder of real data sets, or skip."""
    folder = Path(os.environ.get("DATABOURSE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (folder / "DATA.md").is_file():
        pytest.skip(f"no real data sets at {folder}; set DATABOURSE_DATA to their folder")
    return folder


LISTED = {" yes": 0.6, "yes": 0.1, "No": 0.2, "maybe": 0.05, " no": 0.01}
USAGE = {"prompt_tokens": 120, "completion_tokens": 1}


def chat_reply(listed=LISTED, usage=USAGE):
    """Return the object of a good reply of /chat/completions."""
    top = [{"token": token, "logprob": math.log(p)} for token, p in listed.items()]
    content = [{"token": " yes", "logprob": math.log(0.6), "top_logprobs": top}]
    return {
        "choices": [{"message": {"content": " yes"}, "logprobs": {"content": content}}],
        "usage": usage,
    }


def completions_reply(listed=LISTED, usage=USAGE):
    """Return the object of a good reply of /completions."""
    top = {token: math.log(p) for token, p in listed.items()}
    return {
        "choices": [{"text": " yes", "logprobs": {"top_logprobs": [top]}}],
        "usage": usage,
    }


class Endpoint:
    """A server whose `behave(name, attempt, handler)` may act for itself and then return True.

    Documents are told apart by the words doc-N in their text.
    """

    def __init__(self):
        self.behave = lambda name, attempt, handler: False
        self.attempts = collections.Counter()
        self.good = collections.Counter()
        self.times, self.bodies, self.headers = [], [], []
        self.at_once = self.most_at_once = 0
        self.prompt_tokens = 0
        self.lock = threading.Lock()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                endpoint.serve(self)

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request, client_address):
                """Say nothing: clients that hang up are part of the tests."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        self.thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self.thread.start()

    def serve(self, handler):
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        asked = json.loads(body)
        prompt = asked["prompt"] if "prompt" in asked else asked["messages"][0]["content"]
        name = re.search(r"doc-\d+", prompt)[0]
        with self.lock:
            self.times.append(time.monotonic())
            self.bodies.append((handler.path, asked))
            self.headers.append(dict(handler.headers))
            self.attempts[name] += 1
            attempt = self.attempts[name]
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if not self.behave(name, attempt, handler):
                reply = chat_reply() if handler.path.endswith("chat/completions") else None
                self.send(handler, reply or completions_reply())
                with self.lock:
                    self.good[name] += 1
        finally:
            with self.lock:
                self.at_once -= 1

    def send(self, handler, content, status=200, **headers):
        """Send an object as JSON, or bytes as they are."""
        if not isinstance(content, bytes):
            with self.lock:
                self.prompt_tokens += (content.get("usage") or {}).get("prompt_tokens", 0)
            content = json.dumps(content).encode()
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)
        return True

    def reset(self, handler):
        """Break the connection so that the client sees a reset."""
        linger = struct.pack("ii", 1, 0)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        handler.connection.close()
        handler.close_connection = True
        return True

    def drip(self, handler, seconds):
        """Send a reply byte by byte, for so long at most."""
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        until = time.monotonic() + seconds
        handler.close_connection = True
        while time.monotonic() < until:
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.02)
        return True

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def endpoint(monkeypatch):
    """Return a running endpoint; no proxy stands between."""
    monkeypatch.setenv("NO_PROXY", "*")
    running = Endpoint()
    yield running
    running.close()


@pytest.fixture
def replies():
    """Return the functions that make good replies, by api."""
    return {"chat": chat_reply, "completions": completions_reply}


@pytest.fixture(scope="session")
def tiny_encoder_folder(tmp_path_factory):
    """Return a folder with an untrained encoder of one layer that reads letters."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("letters")
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz"]
    tokenizer = Tokenizer(
        models.WordLevel({each: place for place, each in enumerate(names)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.add_special_tokens(names[:4])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=40,
        pad_token="[PAD]",
        unk_token="[UNK]",
    ).save_pretrained(str(folder))
    config = transformers.BertConfig(
        vocab_size=len(names),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        transformers.BertModel(config).eval().save_pretrained(str(folder))
    return folder
