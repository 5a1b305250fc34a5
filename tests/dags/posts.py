"""A server of this process that keeps the documents that are posted to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from uuid import uuid4

from local_stack.airflow_client import AirflowClient


@dataclass
class Posts:
    """The documents that were posted to a connection of Airflow."""

    connection: str
    documents: list[Any]


@contextmanager
def kept_posts() -> Iterator[tuple[int, list[Any]]]:
    """Yield the port of a server on 127.0.0.1, and the list to which it adds each JSON document."""
    documents: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            documents.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, documents
        server.shutdown()


@contextmanager
def posts_of_airflow(airflow: AirflowClient) -> Iterator[Posts]:
    """Serve a new connection of a real Airflow."""
    connection = f"hook_{uuid4().hex[:8]}"
    with kept_posts() as (port, documents):
        fields = {"connection_id": connection, "conn_type": "http", "host": "127.0.0.1"}
        airflow.post("/api/v2/connections", {**fields, "port": port})
        yield Posts(connection, documents)
