"""The real services as `./run up` starts them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psutil
import pytest

from local_stack.nodetool import nodetool
from local_stack.services.airflow import USER, Airflow
from local_stack.services.cassandra import CassandraNode
from local_stack.services.kafka import READY_TOPIC
from local_stack.stack import Stack
from millrace.errors import StackError

NODE_LOCAL = 0x0B
"""A consistency level of Cassandra for which the driver has no name."""


def execute(node: CassandraNode, statement: str, consistency: int = 1) -> list[Any]:
    """Run one statement with this node alone as coordinator."""
    from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
    from cassandra.policies import FallthroughRetryPolicy, WhiteListRoundRobinPolicy

    profile = ExecutionProfile(
        load_balancing_policy=WhiteListRoundRobinPolicy([node.host]),
        consistency_level=consistency,
        retry_policy=FallthroughRetryPolicy(),
        request_timeout=30,
    )
    cluster = Cluster(
        [node.host],
        port=node.ports()[0].number,
        protocol_version=4,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        connect_timeout=30,
    )
    try:
        return list(cluster.connect().execute(statement))
    finally:
        cluster.shutdown()


def up_nodes(stack: Stack, at: int) -> set[str]:
    """Return the addresses that node ``at`` believes to be up and normal."""
    done = nodetool(stack.node(at), ["status"], capture=True)
    assert done.returncode == 0, done.stderr
    return {line.split()[1] for line in done.stdout.splitlines() if line.startswith("UN ")}


def states(stack: Stack) -> dict[str, str]:
    return {row["service"]: row["state"] for row in stack.status()}


def test_both_nodes_see_each_other_up(stack: Stack) -> None:
    assert up_nodes(stack, at=1) == up_nodes(stack, at=2) == {"127.0.0.1", "127.0.0.2"}


def test_up_again_starts_nothing(stack: Stack) -> None:
    before = stack.status()
    stack.up(["cassandra", "kafka", "redis"])
    assert stack.status() == before


def test_everything_listens_on_loopback_only(full_stack: Stack) -> None:
    for service in full_stack.services():
        started = service.started
        assert started is not None
        listening = {
            (connection.laddr.ip, connection.laddr.port)
            for process in started.members()
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN or connection.type == socket.SOCK_DGRAM
        }
        assert {(port.host, port.number) for port in service.ports()} <= listening
        assert all(address.startswith("127.0.0.") for address, _ in listening), (service.name, listening)


def test_services_write_only_to_the_home(full_stack: Stack) -> None:
    allowed = (str(full_stack.place.home), "/dev/", "/proc/")
    for service in full_stack.services():
        started = service.started
        assert started is not None
        for process in started.members():
            written = [file.path for file in process.open_files() if file.mode != "r"]
            assert all(path.startswith(allowed) for path in written), (service.name, written)


def test_reads_at_node_local_are_enabled(stack: Stack) -> None:
    for number in (1, 2):
        rows = execute(stack.node(number), "SELECT session_id FROM system_traces.sessions LIMIT 1", NODE_LOCAL)
        assert isinstance(rows, list)


def test_hints_are_capped_and_the_commit_log_is_periodic(stack: Stack) -> None:
    rows = execute(stack.node(1), "SELECT name, value FROM system_views.settings")
    settings = {row.name: row.value for row in rows}
    assert settings["max_hints_size_per_host"] == "2GiB"
    assert settings["commitlog_sync"] == "periodic"
    assert settings["memtable_allocation_type"] == "offheap_objects"


def test_keyspace_and_topic_are_made_by_up(stack: Stack) -> None:
    from confluent_kafka.admin import AdminClient

    from millrace.settings import load_settings

    settings = load_settings()
    rows = execute(stack.node(1), "SELECT keyspace_name, replication FROM system_schema.keyspaces")
    replication = {row.keyspace_name: dict(row.replication) for row in rows}[settings.cassandra.keyspace]
    assert replication["class"].endswith("NetworkTopologyStrategy")
    assert replication["dc1"] == "2"
    admin = AdminClient({"bootstrap.servers": settings.kafka.bootstrap_servers})
    topics = admin.list_topics(timeout=30).topics
    assert {settings.kafka.topic, READY_TOPIC} <= set(topics)


def test_kafka_makes_no_topic_for_a_misspelt_name(stack: Stack) -> None:
    from confluent_kafka import KafkaError, Producer

    from millrace.settings import load_settings

    told: list[KafkaError | None] = []
    servers = load_settings().kafka.bootstrap_servers
    producer = Producer({"bootstrap.servers": servers, "message.timeout.ms": 5000, "log_level": 0})
    producer.produce("millrace.progres.v1", b"", on_delivery=lambda error, _: told.append(error))
    assert producer.flush(30) == 0
    assert told[0] is not None


def test_redis_never_evicts_by_itself(stack: Stack) -> None:
    import redis

    from millrace.settings import load_settings

    with closing(redis.Redis.from_url(load_settings().redis.url.get_secret_value())) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert int(client.config_get("maxmemory")["maxmemory"]) == stack.place.sizes.redis_maxmemory_mb * 1024 * 1024


def test_a_port_that_is_taken_by_another_stack_is_refused_with_its_holder(stack: Stack) -> None:
    elsewhere = stack.settings.model_copy(update={"home": stack.place.home / "tmp" / "another"})
    second = Stack(elsewhere, say=lambda line: None)
    redis = next(row for row in stack.status() if row["service"] == "redis")
    with pytest.raises(StackError, match=rf"is taken by redis-server \(pid {redis['pid']}\).*REDIS_PORT"):
        second.up(["redis"])


@pytest.mark.timeout(600)
def test_a_killed_node_is_reported_as_died_and_either_node_starts_while_the_other_is_down(every_node: Stack) -> None:
    every_node.kill("cassandra-2")
    assert states(every_node)["cassandra-2"] == "died"
    assert execute(every_node.node(1), "SELECT key FROM system.local")[0].key == "local"
    every_node.down(["cassandra-1"])
    every_node.up(["cassandra-2"])
    assert states(every_node)["cassandra-1"] == "down"
    assert execute(every_node.node(2), "SELECT key FROM system.local")[0].key == "local"
    every_node.up(["cassandra-1"])
    assert up_nodes(every_node, at=1) == up_nodes(every_node, at=2) == {"127.0.0.1", "127.0.0.2"}


def test_a_frozen_node_is_reported_as_frozen_and_can_be_thawed(every_node: Stack) -> None:
    every_node.freeze("cassandra-2")
    assert states(every_node)["cassandra-2"] == "frozen"
    with pytest.raises(StackError, match="cassandra-2 is frozen"):
        every_node.up(["cassandra"])
    every_node.thaw("cassandra-2")
    every_node.up(["cassandra"])
    assert up_nodes(every_node, at=1) == {"127.0.0.1", "127.0.0.2"}


def test_nodetool_at_a_node_that_is_down_is_a_clear_error(stack: Stack) -> None:
    with pytest.raises(StackError, match=r"cassandra-7 is not running: \./run up cassandra-7"):
        nodetool(stack.node(7), ["status"])


def test_an_error_of_nodetool_is_its_exit_code(stack: Stack) -> None:
    done = nodetool(stack.node(1), ["no-such-command"], capture=True)
    assert done.returncode != 0
    assert "no-such-command" in done.stdout + done.stderr


def test_airflow_accepts_the_password_and_rejects_any_other(full_stack: Stack) -> None:
    import httpx

    airflow = Airflow(full_stack.place)
    with httpx.Client(base_url=airflow.address, timeout=60, trust_env=False) as client:
        right = client.post("/auth/token", json={"username": USER, "password": airflow.password()})
        wrong = client.post("/auth/token", json={"username": USER, "password": "guessed"})
        assert (right.status_code, wrong.status_code) == (201, 401)
        assert client.get("/api/v2/dags").status_code == 401
        token = {"Authorization": f"Bearer {right.json()['access_token']}"}
        errors = client.get("/api/v2/importErrors", headers=token).json()
        plugins = client.get("/api/v2/plugins/importErrors", headers=token).json()
    assert (errors["total_entries"], plugins["total_entries"]) == (0, 0), (errors, plugins)


def test_the_providers_own_hook_reaches_the_cluster_by_our_connection(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    import subprocess
    import sys

    env = {**os.environ, **{k: v for k, v in Airflow(stack.place).env().items() if k.startswith("AIRFLOW")}}
    code = (
        "from airflow.providers.apache.cassandra.hooks.cassandra import CassandraHook as Hook\n"
        "hook = Hook('cassandra_default')\n"
        "print(sorted(row.key for row in hook.get_conn().execute('SELECT key FROM system.local')), hook.keyspace)\n"
        "hook.shutdown_cluster()\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**env, "AIRFLOW_HOME": str(stack.place.folder("tmp", "hook"))},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.stdout.strip().splitlines()[-1:] == ["['local'] millrace"], done.stderr


def test_the_bridge_is_ready_and_answers(full_stack: Stack, services: Callable[..., Stack]) -> None:
    import httpx

    address = next(row["address"] for row in full_stack.status() if row["service"] == "bridge")
    with httpx.Client(base_url=address, timeout=30, trust_env=False) as client:
        assert client.get("/readyz").status_code == 200
        assert client.get("/api/progress").json()["events"] is not None
