from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from millrace import progress
from millrace.api import Store
from millrace.cli import main
from millrace.cli.commands import init
from millrace.errors import ProgressError, StoreSchemaError, StoreUnavailableError
from millrace.settings import KafkaSettings
from tests.ports import free_port

NODE_DOWN = StoreUnavailableError("tables can be created only while every node is up; down: 127.0.0.2")


@pytest.fixture
def paused(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the pauses of the code, in seconds. Only these pauses advance the clock."""
    pauses: list[float] = []
    monkeypatch.setattr(init.time, "monotonic", lambda: 1000.0 + sum(pauses))
    monkeypatch.setattr(init.time, "sleep", pauses.append)
    monkeypatch.setattr(progress, "create_topic", lambda kafka, *, timeout_s: True)
    return pauses


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that sets the results of the calls of ``Store.init``. The last result repeats."""

    def answer(*ends: Exception | None) -> None:
        left = list(ends)

        def make(_settings: Any) -> None:
            end = left.pop(0) if len(left) > 1 else left[0]
            if end is not None:
                raise end

        monkeypatch.setattr(Store, "init", make)

    return answer


def test_init_waits_until_every_node_is_up(
    paused: list[float], tables: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    tables(NODE_DOWN, NODE_DOWN, None)
    assert main(["init", "--wait-s", "300", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["topic_created"] is True
    assert paused == [init.PAUSE_S] * 2


def test_init_fails_with_the_last_error_after_its_wait_time(
    paused: list[float], tables: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    tables(NODE_DOWN)
    assert main(["init", "--wait-s", "5"]) == 1
    assert sum(paused) == 5
    assert capsys.readouterr().err == f"millrace: {NODE_DOWN}\n"


def test_init_does_not_wait_without_the_option(paused: list[float], tables: Callable[..., None]) -> None:
    tables(NODE_DOWN)
    assert main(["init"]) == 1
    assert paused == []


def test_init_does_not_wait_after_a_schema_error(paused: list[float], tables: Callable[..., None]) -> None:
    tables(StoreSchemaError("keyspace 'ks' has replication factor 3 in dc1"))
    assert main(["init", "--wait-s", "300"]) == 1
    assert paused == []


def test_the_wait_time_is_also_the_timeout_for_kafka(
    paused: list[float], tables: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    timeouts_s: list[float] = []
    monkeypatch.setattr(progress, "create_topic", lambda kafka, *, timeout_s: bool(timeouts_s.append(timeout_s)))
    tables(None)
    main(["init", "--wait-s", "300"])
    main(["init"])
    assert timeouts_s == [300.0, init.KAFKA_TIMEOUT_S]


def test_if_kafka_is_unreachable_init_makes_the_tables_and_warns_that_progress_is_off(
    tables: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(init, "KAFKA_TIMEOUT_S", 0.2)
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("MILLRACE_KAFKA__BOOTSTRAP_SERVERS", address)
    tables(None)
    assert main(["init", "--json"]) == 0
    output = capsys.readouterr()
    facts = json.loads(output.out)
    assert "chunks" in facts["tables"]
    assert (facts["topic"], facts["topic_created"]) == (None, False)
    assert output.err.count("\n") == 1
    assert output.err.startswith("millrace: warning: progress is off: ")
    assert address in output.err


def test_without_kafka_in_the_settings_init_warns_that_progress_is_off(
    tables: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MILLRACE_KAFKA__BOOTSTRAP_SERVERS", "")
    tables(None)
    assert main(["init"]) == 0
    output = capsys.readouterr()
    assert "switched off" in output.out
    assert output.err == "millrace: warning: progress is off: MILLRACE_KAFKA__BOOTSTRAP_SERVERS is empty\n"


def test_init_fails_if_kafka_refuses_to_create_the_topic(
    tables: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(kafka: KafkaSettings, *, timeout_s: float) -> bool:
        raise ProgressError("topic t cannot be created: Kafka at k reports not authorized", unresponsive=False)

    monkeypatch.setattr(progress, "create_topic", refuse)
    tables(None)
    assert main(["init"]) == 1
    assert "not authorized" in capsys.readouterr().err
