"""Post reports to the connection that ``notify`` of a declared source names: HTTP, or an incoming webhook of Slack."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Mapping
from typing import Any, Final

from airflow.sdk import BaseNotifier, Connection

from millrace.airflow import connect
from millrace.errors import InvalidSettingError, MillraceError, ProgressError

logger = logging.getLogger(__name__)

TIMEOUT_S: Final = 10.0
CONNECT_ATTEMPTS: Final = 3
_SLACK_URL: Final = "https://hooks.slack.com/services"
# Extras of an HTTP connection that Airflow's HTTP hook takes for itself; all others are headers.
_OPTIONS: Final = frozenset(
    {
        "allow_redirects",
        "cert",
        "check_response",
        "max_redirects",
        "proxies",
        "stream",
        "timeout",
        "trust_env",
        "verify",
    }
)


class ReportNotifier(BaseNotifier):
    """Post the report of a run that failed, or that succeeded with rejected rows or values.

    It is a callback of the DAG of a declared source, so Airflow calls it in the DAG processor when a run has ended.
    """

    def __init__(self, *, connection: str, source: str) -> None:
        super().__init__()
        self.connection = connection
        self.source = source

    def render_template_fields(self, context: Any, jinja_env: Any = None) -> None:
        """Do nothing, because no field is a template. Airflow's own method fails in ``dag.test``."""

    def notify(self, context: Any) -> None:
        """Post the report. Airflow logs an error, which does not change the state of the run."""
        report = _report(context)
        if report["state"] == "failed":
            post(self.connection, {"event": "failed", "source": self.source, "report": report})
        elif any(report.get(name) for name in ("rejected", "discarded_rows", "discarded_values")):
            post(self.connection, {"event": "rejects", "source": self.source, "report": report})


def _report(context: Any) -> dict[str, Any]:
    """Return the load report of a run that ended, or the run and Airflow's reason for a failed run without a report."""
    run = f"{context['dag'].dag_id}/{context['run_id']}"
    if context["reason"] == "success":
        return {"state": "succeeded", "run": run, **(context["ti"].xcom_pull(task_ids="publish") or {})}
    return {"run": run, "reason": context["reason"], **_kept_report(run), "state": "failed"}


def _kept_report(run: str) -> dict[str, Any]:
    """Return the report that the store keeps of a run.

    It is empty if there is none: the store is unreachable, or the process of a task was killed.
    """
    try:
        with connect() as store:
            return dict(json.loads(json.dumps(store.run_report(run).to_json())))
    except MillraceError as error:
        logger.warning("the report of %s was not found: %s", run, error)
        return {}


def post(connection_id: str, event: Mapping[str, Any]) -> None:
    """Post an event to a connection, as JSON, or as one line of text to Slack.

    Raises ``InvalidSettingError`` for a connection of another type, and ``ProgressError`` (retriable) if the event is
    not accepted. No message contains the URL, because that of a webhook is a secret.
    """
    import httpx

    connection = Connection.get(connection_id)
    body: Mapping[str, Any] = event
    if connection.conn_type in ("http", "https"):
        url, headers = _http(connection)
    elif connection.conn_type == "slackwebhook":
        url, headers, body = _slack_url(connection), {}, {"text": slack_text(event)}
    else:
        raise InvalidSettingError(
            f"connection {connection_id} has the type {connection.conn_type}",
            hint="reports are posted to connections of the types http and slackwebhook",
        )
    try:
        status = _posted(url, body, headers)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise ProgressError(
            f"the report was not posted to connection {connection_id}: {type(error).__name__}",
            hint="check the connection",
        ) from None
    if not 200 <= status < 300:
        raise ProgressError(
            f"connection {connection_id} answered with HTTP status {status} to a report", hint="check the connection"
        )


def _posted(url: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> int:
    """Post a JSON document, and return the status of the response, whose body is not read: it may never end.

    The client of httpx is not used, because it logs the whole URL.
    """
    import httpx

    timeouts = {"timeout": httpx.Timeout(TIMEOUT_S).as_dict()}
    with httpx.HTTPTransport(retries=CONNECT_ATTEMPTS - 1) as transport:
        response = transport.handle_request(httpx.Request("POST", url, json=body, headers=headers, extensions=timeouts))
        response.close()
    return response.status_code


def _http(connection: Any) -> tuple[str, dict[str, str]]:
    """Return the URL of an HTTP connection, and its headers with credentials, by the rules of Airflow's HTTP hook."""
    from httpx import URL

    host = connection.host or ""
    scheme = connection.schema or connection.conn_type
    url = host if "://" in host else f"{scheme}://{host}"
    if connection.port:
        url = str(URL(url).copy_with(port=connection.port))
    headers = {name: str(value) for name, value in connection.extra_dejson.items() if name not in _OPTIONS}
    if connection.login:
        pair = f"{connection.login}:{connection.password or ''}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    elif connection.password:
        headers.setdefault("Authorization", f"Bearer {connection.password}")
    return url, headers


def _slack_url(connection: Any) -> str:
    """Return the URL of a webhook, whose last part or whole is the password of the connection."""
    token = connection.password or ""
    if "://" in token:
        return token
    host = connection.host or _SLACK_URL
    url = host if "://" in host else f"{connection.schema or 'https'}://{host}"
    return f"{url.rstrip('/')}/{token.lstrip('/')}"


def slack_text(event: Mapping[str, Any]) -> str:
    """Return an event as one line of text."""
    report = event["report"]
    if event["event"] == "failed":
        reason = (report.get("error") or {}).get("message") or report["reason"]
        return f"The load of {event['source']} failed: {reason} ({report['run']})"
    if event["event"] == "late":
        return f"{event['source']} is late: {report['reason']}"
    return (
        f"{event['source']}: {report['dataset']}@{report['version']} has {report['rows']:,} rows; "
        f"{report['rejected']:,} rows were rejected, {report['discarded_rows']:,} rows and "
        f"{report['discarded_values']:,} values were discarded ({report['run']})"
    )
