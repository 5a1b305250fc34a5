from __future__ import annotations

import socket
from typing import Any

import pytest

from millrace.cache import ChunkCache
from millrace.doctor.hardware_limits import PROBE, measure_limits
from millrace.settings import Settings
from millrace.store.cluster.session import CassandraSession
from tests.integration.cli.conftest import Millrace


def checks(facts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in facts["checks"]}


@pytest.fixture
def unused_port() -> str:
    """Return a port on which no process listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return str(taken.getsockname()[1])


def test_doctor_reports_each_service_as_ok(millrace: Millrace, settings: Settings) -> None:
    done = millrace("doctor", "--no-measure", "--json")
    results = checks(done.json)
    assert (done.code, done.json["ok"], done.json["limits"]) == (0, True, [])
    for address in settings.cassandra.contact_points:
        assert results[f"cassandra {address}"]["state"] == "ok"
        assert results[f"cassandra {address}"]["result"].startswith("Cassandra 5.")
    assert results["keyspace"]["result"] == f"{settings.cassandra.keyspace}, replication factor 2"
    assert {results[name]["state"] for name in ("keyspace", "redis", "kafka")} == {"ok"}
    assert {"replicas", "bridge", "airflow", "disk", "memory"} <= set(results)
    shown = millrace("doctor", "--no-measure")
    assert f"topic {settings.kafka.topic}" in shown.out


def test_missing_optional_services_are_reported_and_are_no_failure(millrace: Millrace, unused_port: str) -> None:
    done = millrace(
        "doctor",
        "--no-measure",
        "--json",
        MILLRACE_REDIS__URL=f"redis://127.0.0.1:{unused_port}/0",
        MILLRACE_KAFKA__BOOTSTRAP_SERVERS=f"127.0.0.1:{unused_port}",
        MILLRACE_BRIDGE__URL=f"http://127.0.0.1:{unused_port}",
        MILLRACE_AIRFLOW__URL=f"http://127.0.0.1:{unused_port}",
    )
    results = checks(done.json)
    assert (done.code, done.json["ok"], done.err) == (0, True, "")
    for name in ("redis", "kafka", "bridge", "airflow"):
        assert results[name]["state"] == "failed"
        assert "does not respond" in results[name]["result"]
        assert "./run up" in results[name]["advice"]
    off = checks(
        millrace("doctor", "--no-measure", "--json", MILLRACE_REDIS__URL="", MILLRACE_KAFKA__BOOTSTRAP_SERVERS="").json
    )
    assert {off[name]["state"] for name in ("redis", "kafka")} == {"warning"}


def test_without_cassandra_or_its_keyspace_the_exit_code_is_1(millrace: Millrace, unused_port: str) -> None:
    done = millrace("doctor", "--no-measure", "--json", MILLRACE_CASSANDRA__PORT=unused_port)
    assert (done.code, done.json["ok"]) == (1, False)
    assert "no Cassandra node responds" in checks(done.json)["cassandra"]["result"]
    assert done.err == "millrace: loads and reads need the failed checks to pass: cassandra\n"
    done = millrace("doctor", "--no-measure", "--json", MILLRACE_CASSANDRA__KEYSPACE="test_missing_keyspace")
    assert done.code == 1
    assert checks(done.json)["keyspace"]["advice"] == "run: millrace init"
    missing = millrace("doctor", "--no-measure", "--json", MILLRACE_KAFKA__TOPIC="missing.topic")
    assert checks(missing.json)["kafka"]["result"] == "no topic missing.topic"


def test_limits_are_measured_and_no_data_is_left_behind(millrace: Millrace, settings: Settings) -> None:
    done = millrace("doctor", "--json")
    measured = {limit["name"]: limit for limit in done.json["limits"]}
    assert len(measured) == 9
    assert all(limit["value"] > 0 for limit in measured.values()), measured
    cassandra = CassandraSession.connect(settings.cassandra)
    try:
        keyspace = settings.cassandra.keyspace
        partitions = cassandra.session.execute(f"SELECT DISTINCT dataset, attempt_id, bucket FROM {keyspace}.chunks")
        assert PROBE not in {row.dataset for row in partitions}
    finally:
        cassandra.close()
    cache = ChunkCache(settings.redis, cluster=PROBE, keyspace=settings.cassandra.keyspace)
    try:
        assert cache.evict(PROBE) == 0
    finally:
        cache.close()


def test_a_limit_that_cannot_be_measured_has_the_reason(settings: Settings, unused_port: str) -> None:
    without = settings.model_copy(
        update={
            "redis": settings.redis.model_copy(update={"url": type(settings.redis.url)("")}),
            "cassandra": settings.cassandra.model_copy(update={"port": int(unused_port)}),
        }
    )
    notes = {limit.name: limit.note for limit in measure_limits(without) if limit.value is None}
    assert notes["Redis"] == "switched off"
    assert "no Cassandra node responds" in notes["Cassandra driver"]
