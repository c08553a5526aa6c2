"""An OpenAI-compatible endpoint on this machine that misbehaves as it is told."""

import collections
import json
import math
import re
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from databourse.ask_llm.endpoint_settings import EndpointSettings

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


@pytest.fixture
def replies():
    """Return the functions that make good replies, by api."""
    return {"chat": chat_reply, "completions": completions_reply}
