"""Flask-SSE with its Redis, served as its own documentation shows: gunicorn with gevent workers."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from bench.peers.fetched import fetch

__all__ = ["VERSION", "command", "create_app", "environment", "install"]

VERSION = "1.0.0"
_LOCKED = f"""\
flask-sse=={VERSION} --hash=sha256:f86d7ecff0607333755c444130c395e7a133fb7ae6cf76fbd29b1da36d34776b
six==1.17.0 --hash=sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274
"""


def install(folder: Path) -> Path:
    """Return the folder with the package, fetched once; raise ``StackError`` if it cannot be installed."""
    return fetch(folder / f"flask-sse-{VERSION}", _LOCKED, has="flask_sse.py", name="Flask-SSE")


def command(port: int) -> list[str]:
    """Return the command of one gevent worker on one core, as Millrace's bridge has one."""
    gunicorn = str(Path(sys.executable).with_name("gunicorn"))
    options = ["-b", f"127.0.0.1:{port}", "-k", "gevent", "-w", "1", "--worker-connections", "8000"]
    return [gunicorn, *options, "--backlog", "4096", "bench.peers.flask_sse:create_app()"]


def environment(target: Path, redis_url: str) -> dict[str, str]:
    """Return the environment in which the package and its Redis are found."""
    return {"PYTHONPATH": str(target), "FLASK_SSE_REDIS_URL": redis_url}


def create_app() -> Any:
    """Return the application of its quickstart, with a page that shows that it is up."""
    from flask import Flask
    from flask_sse import sse  # type: ignore[import-not-found]  # fetched for the benchmark alone

    app = Flask(__name__)
    app.config["REDIS_URL"] = os.environ["FLASK_SSE_REDIS_URL"]
    app.register_blueprint(sse, url_prefix="/stream")
    app.add_url_rule("/healthz", view_func=lambda: "ok")
    return app
