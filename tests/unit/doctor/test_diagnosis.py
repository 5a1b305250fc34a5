"""Each service is checked by itself: an error or a slow response of one does not affect the results of the others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from millrace.doctor import Check, diagnose, diagnosis
from millrace.errors import StoreUnavailableError
from millrace.settings import Settings

SERVICES = ("cassandra", "redis", "kafka", "bridge", "airflow", "disk", "memory")


@pytest.fixture
def passing_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the check of each service by one that passes."""
    for name in SERVICES:
        monkeypatch.setattr(diagnosis, f"_{name}", lambda _settings, name=name: Check(name, "ok", ""))


@pytest.mark.usefixtures("passing_checks")
def test_all_services_are_checked_in_a_fixed_order() -> None:
    assert [check.name for check in diagnose(Settings())] == list(SERVICES)


@pytest.mark.usefixtures("passing_checks")
def test_checks_before_an_error_are_kept_and_the_error_of_cassandra_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def nodes(_settings: Settings) -> Iterator[Check]:
        yield Check("cassandra 127.0.0.1", "ok", "Cassandra 5.0.9", needed=True)
        raise StoreUnavailableError("no Cassandra node responds", hint="start one")

    monkeypatch.setattr(diagnosis, "_cassandra", nodes)
    monkeypatch.setattr(diagnosis, "_disk", lambda _settings: 1 / 0)
    checks = diagnose(Settings())
    assert [check.name for check in checks] == ["cassandra 127.0.0.1", *SERVICES]
    assert checks[1] == Check("cassandra", "failed", "no Cassandra node responds", "start one", needed=True)
    assert checks[6] == Check("disk", "failed", "ZeroDivisionError: division by zero")


@pytest.mark.usefixtures("passing_checks")
def test_a_service_that_never_responds_is_failed_after_its_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(diagnosis, "_redis", lambda _settings: released.wait(60))
    checks = diagnose(Settings(), service_timeout_s=0.05)
    released.set()
    assert [(check.name, check.state) for check in checks if check.state != "ok"] == [("redis", "failed")]
    assert checks[1].result == "no response within 0.05 s"


@pytest.mark.parametrize(
    ("parts", "state", "result"),
    [
        (
            {"scheduler": {"status": "healthy"}, "triggerer": {"status": None}},
            "ok",
            "http://127.0.0.1:8080: scheduler healthy",
        ),
        ({"scheduler": {"status": "unhealthy"}}, "failed", "not healthy: scheduler"),
        ({"detail": "Not Found"}, "failed", "not healthy: http://127.0.0.1:8080"),
    ],
)
def test_airflow_is_ok_if_every_part_with_a_status_is_healthy(
    monkeypatch: pytest.MonkeyPatch, parts: dict[str, Any], state: str, result: str
) -> None:
    monkeypatch.setattr(httpx, "get", lambda *_, **__: httpx.Response(200, json=parts))
    check = diagnosis._airflow(Settings(airflow={"url": "http://127.0.0.1:8080/"}))  # type: ignore[arg-type]
    assert (check.state, check.result) == (state, result)


@pytest.mark.parametrize(("alive", "ready", "state"), [(200, 200, "ok"), (200, 503, "warning"), (500, 200, "failed")])
def test_a_bridge_that_is_behind_kafka_is_a_warning_and_a_broken_one_is_failed(
    monkeypatch: pytest.MonkeyPatch, alive: int, ready: int, state: str
) -> None:
    monkeypatch.setattr(httpx, "get", lambda url, **_: httpx.Response(alive if url.endswith("healthz") else ready))
    assert diagnosis._bridge(Settings()).state == state
