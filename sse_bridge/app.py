"""The bridge as a Flask application: the page, the stream, the snapshot, readiness and metrics.

Run it with ``gunicorn -c python:sse_bridge.gunicorn_conf``: one process, an event loop, and one native thread
that reads Kafka.
"""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

from flask import Flask, Response, render_template, request
from werkzeug.exceptions import BadRequest

from millrace.errors import UsageError
from millrace.progress import RUN_QUIET_S, utc_text
from millrace.settings import Settings, load_settings
from sse_bridge.bridge import Bridge
from sse_bridge.filters import Filter, parse_filter
from sse_bridge.security import guard
from sse_bridge.streams import Refused
from sse_bridge.views import run_views, task_json

RETRY_AFTER_S = "5"
NDJSON = "application/x-ndjson"


def create_app(settings: Settings | None = None, *, bridge: Bridge | None = None) -> Flask:
    """Create the application and start to read Kafka; a given ``bridge`` is used as it is.

    Raises ``InvalidSettingError`` when the settings would open the bridge to other machines without authentication,
    and for the other reasons of ``check_exposure``.
    """
    settings = settings or load_settings()
    app = Flask(__name__)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.wsgi_app = _keep_slashes(app.wsgi_app)  # type: ignore[method-assign]
    guard(app, settings.bridge)
    if bridge is None:
        bridge = Bridge(settings)
        bridge.start()
        bridge.chain_sigterm()
    app.extensions["bridge"] = bridge
    _add_api(app, bridge)
    _add_pages(app, bridge, settings.airflow.url.rstrip("/"))
    return app


_SLASH = "\ufdd0"
"""Replaces a slash inside an id while a route is looked up. A Unicode noncharacter, so no address contains it."""


def _keep_slashes(serve: Any) -> Any:
    """Wrap a WSGI application so that ids in the path may contain slashes.

    An address spells such a slash ``%2F``, which the server decodes before a route is chosen.
    """

    def served(environ: dict[str, Any], start_response: Any) -> Any:
        raw, _, _ = environ.get("RAW_URI", "").partition("?")
        if raw.startswith("/runs/") and "%2f" in raw.lower():
            path = "/".join(unquote(part, errors="replace").replace("/", _SLASH) for part in raw.split("/"))
            environ["PATH_INFO"] = path.encode("utf-8").decode("latin-1")
        return serve(environ, start_response)

    return served


def _selection() -> Filter:
    try:
        return parse_filter({name: request.args.getlist(name) for name in request.args})
    except UsageError as error:
        raise BadRequest(str(error)) from None


def _quiet_s() -> float | None:
    """Return the time without events after which the stream of a finished run ends; None: it does not end."""
    until = request.args.get("until")
    if until is None:
        return None
    quiet_s = request.args.get("quiet_s", default=RUN_QUIET_S, type=float)
    if until != "terminal" or not 0 <= quiet_s <= 3600:
        raise BadRequest("until must be `terminal`, and quiet_s a number from 0 to 3600")
    return float(quiet_s)


def _add_api(app: Flask, bridge: Bridge) -> None:
    hub = bridge.hub

    @app.errorhandler(BadRequest)
    def bad_request(error: BadRequest) -> tuple[str, int, dict[str, str]]:
        return f"{error.description}\n", 400, {"Content-Type": "text/plain; charset=utf-8"}

    @app.get("/events")
    def events() -> Response:
        """Stream a snapshot, then all events that follow."""
        selection = _selection()
        lines = request.accept_mimetypes.best_match(["text/event-stream", NDJSON], "text/event-stream") == NDJSON
        cursors = (request.args.get(name, "") for name in ("last_event_id", "lastEventId"))
        cursor = request.headers.get("Last-Event-ID", "") or next(filter(None, cursors), "")
        try:
            stream = bridge.streams.open(
                selection,
                lines=lines,
                last_event_id=cursor,
                quiet_s=_quiet_s(),
                sock=request.environ.get("gunicorn.socket"),
                # Gunicorn frames every body of unknown length this way, except for HTTP/1.0 and inside HTTP/2.
                chunked=request.environ.get("SERVER_PROTOCOL") == "HTTP/1.1" and request.scheme == "http",
                address=request.remote_addr or "",
            )
        except Refused as error:
            if bridge.streams.draining:
                _disconnect(request.environ.get("gunicorn.socket"))
            return _unavailable(str(error))
        content_type = NDJSON if lines else "text/event-stream; charset=utf-8"
        headers = {"Content-Type": content_type, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return Response(stream, headers=headers)

    @app.get("/api/progress")
    def progress() -> Response:
        """Return the snapshot as JSON, with the state of each run and task that follows from it."""
        selection = _selection()
        if not hub.ready:
            return _unavailable(f"not ready: {hub.disconnect_reason or 'the topic is still being read'}")
        tasks = [task_json(task, state) for task, state in hub.state.tasks(selection)]
        runs = [run.to_json() for run in hub.state.runs(selection)]
        body = hub.snapshot_json(selection, more={"runs": runs, "tasks": tasks})
        return Response(body, mimetype="application/json", headers={"Cache-Control": "no-store"})

    @app.get("/healthz")
    def healthz() -> tuple[str, int, dict[str, str]]:
        """Report that the process is up."""
        return "ok\n", 200, _PLAIN_TEXT

    @app.get("/readyz")
    def readyz() -> tuple[str, int, dict[str, str]]:
        """Report whether the whole topic has been read and Kafka responds."""
        if hub.ready and hub.kafka_connected:
            return "ok\n", 200, _PLAIN_TEXT
        return f"not ready: {hub.disconnect_reason or 'the topic is still being read'}\n", 503, _PLAIN_TEXT

    @app.get("/metrics")
    def metrics() -> Response:
        """Return the bridge's metrics, for Prometheus."""
        return Response(bridge.metrics.text(), mimetype="text/plain; version=0.0.4")


_PLAIN_TEXT = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}


def _disconnect(sock: Any) -> None:
    """Break the connection: a browser reconnects after that, but never after an HTTP error."""
    if sock is not None:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def _unavailable(reason: str) -> Response:
    return Response(f"{reason}\n", 503, {**_PLAIN_TEXT, "Retry-After": RETRY_AFTER_S})


_MODULES = (
    *("live", "feed", "run_states", "runs", "headline", "training", "model_metrics", "formatting", "dom"),
    *("announcements", "tools"),
)
_MODULES_OF = {
    "page": (*_MODULES, "airflow", "outcome", "run_card", "task_row", "curves", "plot", "scales", "history"),
    "datasets_page": (*_MODULES, "outcome", "datasets", "dataset_table"),
}
"""The modules that each page's script imports, so that a browser requests all of them at once."""


def _add_pages(app: Flask, bridge: Bridge, airflow_url: str) -> None:
    hub = bridge.hub

    def html(template: str, script: str, labels: dict[str, str], title: str, **values: Any) -> Response:
        body = render_template(
            template,
            script=script,
            modules=_MODULES_OF[script],
            airflow=airflow_url,
            labels=labels,
            title=title,
            ready=hub.ready,
            kafka_connected=hub.kafka_connected,
            now=utc_text(hub.clock()),
            **values,
        )
        # An address can contain lone surrogates as well.
        return Response(body.encode("utf-8", "replace"), mimetype="text/html", headers={"Cache-Control": "no-store"})

    @app.get("/")
    @app.get("/runs/<dag_id>/<run_id>")
    @app.get("/runs/<dag_id>/<run_id>/<task_id>")
    @app.get("/runs/<dag_id>/<run_id>/<task_id>/<map_index>")
    def page(**labels: str) -> Response:
        """Show all runs, one run, one task with its mapped instances, or one instance.

        An unknown run gives an empty page, because Airflow shows this page for every DAG.
        """
        labels = {name: value.replace(_SLASH, "/") for name, value in labels.items()}
        if not re.fullmatch("[0-9]+", labels.get("map_index", "0")):
            labels["map_index"] = "-1"  # Airflow writes a literal {MAP_INDEX} for a task that is not mapped
        selection = Filter(**{name: frozenset([value]) for name, value in labels.items()})
        title = " / ".join(labels.values()) or "All runs"
        return html("page.html", "page", labels, title, runs=run_views(hub.state, selection, airflow_url))

    @app.get("/datasets")
    def datasets() -> Response:
        """Show all datasets with their last runs; the browser makes the view from the events."""
        return html("datasets.html", "datasets_page", {}, "Datasets")
