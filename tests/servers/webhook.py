"""A webhook that keeps what it is sent."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any


class Webhook:
    """Its address, the status that it answers with, and what it was sent."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.status = 200
        self.asked: list[dict[str, Any]] = []
        self.taken: list[dict[str, Any]] = []
        """What it was sent while its status was 200."""


@contextmanager
def webhook_server() -> Iterator[Webhook]:
    """Run one for the length of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            webhook.asked.append(body)
            if webhook.status == 200:
                webhook.taken.append(body)
            self.send_response(webhook.status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as listening:
        webhook = Webhook(f"http://127.0.0.1:{listening.server_port}")
        Thread(target=listening.serve_forever, daemon=True).start()
        try:
            yield webhook
        finally:
            listening.shutdown()
