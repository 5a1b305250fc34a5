from __future__ import annotations

import socket
from typing import Any

import pytest

from millrace.cache import ChunkCache
from millrace.doctor.hardware_limits import PROBE, measure_ceilings
from millrace.settings.tree import Settings
from millrace.store.cluster.session import CassandraSession
from tests.integration.cli.conftest import Millrace


def checks(facts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in facts["checks"]}


@pytest.fixture
def nobody() -> str:
    """Return a port on which no process listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return str(taken.getsockname()[1])


def test_doctor_reports_each_service_as_ok(millrace: Millrace, settings: Settings) -> None:
    done = millrace("doctor", "--no-measure", "--json")
    found = checks(done.json)
    assert (done.code, done.json["ok"], done.json["ceilings"]) == (0, True, [])
    for address in settings.cassandra.contact_points:
        assert found[f"cassandra {address}"]["state"] == "ok"
        assert found[f"cassandra {address}"]["found"].startswith("Cassandra 5.")
    assert found["keyspace"]["found"] == f"{settings.cassandra.keyspace}, replication factor 2"
    assert {found[name]["state"] for name in ("keyspace", "redis", "kafka")} == {"ok"}
    assert {"replicas", "bridge", "airflow", "disk", "memory"} <= set(found)
    shown = millrace("doctor", "--no-measure")
    assert f"topic {settings.kafka.topic}" in shown.out


def test_missing_optional_services_are_reported_and_are_no_failure(millrace: Millrace, nobody: str) -> None:
    done = millrace(
        "doctor",
        "--no-measure",
        "--json",
        MILLRACE_REDIS__URL=f"redis://127.0.0.1:{nobody}/0",
        MILLRACE_KAFKA__BOOTSTRAP_SERVERS=f"127.0.0.1:{nobody}",
        MILLRACE_BRIDGE__URL=f"http://127.0.0.1:{nobody}",
        MILLRACE_AIRFLOW__URL=f"http://127.0.0.1:{nobody}",
    )
    found = checks(done.json)
    assert (done.code, done.json["ok"], done.err) == (0, True, "")
    for name in ("redis", "kafka", "bridge", "airflow"):
        assert found[name]["state"] == "failed"
        assert "does not respond" in found[name]["found"]
        assert "./run up" in found[name]["advice"]
    off = checks(
        millrace("doctor", "--no-measure", "--json", MILLRACE_REDIS__URL="", MILLRACE_KAFKA__BOOTSTRAP_SERVERS="").json
    )
    assert {off[name]["state"] for name in ("redis", "kafka")} == {"warning"}


def test_without_cassandra_or_its_keyspace_the_exit_code_is_1(millrace: Millrace, nobody: str) -> None:
    done = millrace("doctor", "--no-measure", "--json", MILLRACE_CASSANDRA__PORT=nobody)
    assert (done.code, done.json["ok"]) == (1, False)
    assert "no Cassandra node responds" in checks(done.json)["cassandra"]["found"]
    assert done.err == "millrace: loads and reads need the failed checks to pass: cassandra\n"
    done = millrace("doctor", "--no-measure", "--json", MILLRACE_CASSANDRA__KEYSPACE="test_nobody_made_this")
    assert done.code == 1
    assert checks(done.json)["keyspace"]["advice"] == "run: millrace init"
    missing = millrace("doctor", "--no-measure", "--json", MILLRACE_KAFKA__TOPIC="nobody.made.this")
    assert checks(missing.json)["kafka"]["found"] == "no topic nobody.made.this"


def test_ceilings_are_measured_and_no_data_is_left_behind(millrace: Millrace, settings: Settings) -> None:
    done = millrace("doctor", "--json")
    measured = {ceiling["what"]: ceiling for ceiling in done.json["ceilings"]}
    assert len(measured) == 8
    assert all(ceiling["value"] > 0 for ceiling in measured.values()), measured
    cassandra = CassandraSession.connect(settings.cassandra)
    try:
        keyspace = settings.cassandra.keyspace
        partitions = cassandra.session.execute(f"SELECT DISTINCT dataset, attempt_id, bucket FROM {keyspace}.chunks")
        assert PROBE not in {row.dataset for row in partitions}
    finally:
        cassandra.close()
    cache = ChunkCache(settings.redis, cluster=PROBE, keyspace=settings.cassandra.keyspace)
    try:
        assert cache.delete_dataset(PROBE) == 0
    finally:
        cache.close()


def test_a_ceiling_that_cannot_be_measured_has_the_reason(settings: Settings, nobody: str) -> None:
    without = settings.model_copy(
        update={
            "redis": settings.redis.model_copy(update={"url": type(settings.redis.url)("")}),
            "cassandra": settings.cassandra.model_copy(update={"port": int(nobody)}),
        }
    )
    notes = {ceiling.what: ceiling.note for ceiling in measure_ceilings(without) if ceiling.value is None}
    assert notes["Redis"] == "switched off"
    assert "no Cassandra node responds" in notes["Cassandra driver"]
