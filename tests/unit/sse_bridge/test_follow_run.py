"""``examples/follow_run.py`` reads every kind of block that the bridge sends."""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from sse_bridge import encoder

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "follow_run.py"


def event(number: int, source: str = "millrace/r/train") -> dict[str, Any]:
    return {"source": source, "data": {"task_id": "train", "state": "running", "done": number}}


def frame(name: str, document: dict[str, Any], cursor: str | None = "7.1") -> bytes:
    return encoder.frame(name, json.dumps(document).encode(), cursor=cursor)


@pytest.fixture
def bridge() -> Iterator[Callable[..., str]]:
    """Return a function that serves these blocks as a stream, and returns the address."""
    servers: list[HTTPServer] = []

    def serve(*blocks: bytes) -> str:
        class Stream(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                self.wfile.write(b"".join(blocks))

            def log_message(self, *_arguments: object) -> None: ...

        servers.append(HTTPServer(("127.0.0.1", 0), Stream))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_blocks_without_data_are_no_events(bridge: Callable[..., str]) -> None:
    specification = importlib.util.spec_from_file_location("follow_run", EXAMPLE)
    assert specification
    assert specification.loader
    example = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(example)
    address = bridge(
        encoder.comment("millrace", retry_ms=1000),
        frame("snapshot", {"events": [event(1)], "liveness": {}}),
        encoder.HEARTBEAT,
        frame("progress", event(2)),
        encoder.id_only("7.2"),
        frame("progress", event(3, source="millrace/r/train/curves")),
        frame("progress", event(4)),
        frame("bye", {"reason": "over"}, cursor=None),
    )
    assert [state["done"] for state in example.states(address, "python", "r")] == [1, 2, 4]
