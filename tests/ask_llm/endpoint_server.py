"""A server process that answers badly before it answers well, and writes down what it told.

Run with a path: it writes its port there, then one line of JSON per request below it: the document,
the kind of answer, and the prompt tokens that a whole and readable reply reported.
"""

import json
import math
import re
import socket
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

KINDS = ("500", "429", "malformed", "reset", "drip", "empty")
TOKENS = 120
PORT = Path(sys.argv[1])
LOG = Path(f"{PORT}.log")

seen: dict[str, int] = {}
guard = threading.Lock()


def reply():
    top = [{"token": word, "logprob": math.log(p)} for word, p in (("yes", 0.6), ("no", 0.3))]
    content = [{"token": "yes", "logprob": math.log(0.6), "top_logprobs": top}]
    usage = {"prompt_tokens": TOKENS, "completion_tokens": 1}
    choices = [{"message": {"content": "yes"}, "logprobs": {"content": content}}]
    return json.dumps({"choices": choices, "usage": usage}).encode()


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        document = re.search(r"doc-(\d+) ", body)[1]
        with guard:
            attempt = seen[document] = seen.get(document, 0) + 1
        # every document is met by one kind of trouble at first; one in four by two
        trouble = 1 + (int(document) % 4 == 0)
        kind = KINDS[(int(document) + attempt) % len(KINDS)] if attempt <= trouble else "good"
        with guard, LOG.open("a") as log:
            told = TOKENS if kind == "good" else 0
            log.write(json.dumps({"document": document, "kind": kind, "told": told}) + "\n")
        getattr(self, f"answer_{kind}")()

    def send(self, status, content, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": len(content), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(content)

    def answer_good(self):
        self.send(200, reply())

    def answer_500(self):
        self.send(500, b"oops")

    def answer_429(self):
        self.send(429, b"slow down", Retry_After=0)

    def answer_malformed(self):
        self.send(200, b'{"choices": [')

    def answer_empty(self):
        self.send(200, b"")

    def answer_reset(self):
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()

    def answer_drip(self):
        content = reply()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        for place in range(len(content)):
            try:
                self.wfile.write(content[place : place + 1])
                self.wfile.flush()
            except OSError:
                return
            time.sleep(0.1)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    PORT.write_text(str(server.server_port))
    server.serve_forever()
