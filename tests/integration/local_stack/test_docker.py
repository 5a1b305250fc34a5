"""docker-compose.yml on a real Docker engine, if there is one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from local_stack.settings import CHECKOUT

STORES = ["cassandra-1", "cassandra-2", "kafka", "redis"]


@pytest.fixture
def composed(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Start the stores of docker-compose.yml until they are healthy; yield the offset of their published ports."""
    try:
        answer = subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=60)
    except OSError:
        pytest.skip("there is no docker command")
    if answer.returncode:
        pytest.skip("no Docker engine answers")
    from testcontainers.compose import DockerCompose

    offset = 31_000
    monkeypatch.setenv("CASSANDRA_2_PORT", str(9043 + offset))
    for name, port in (("CASSANDRA", 9042), ("KAFKA", 9092), ("REDIS", 6379)):
        monkeypatch.setenv(f"MILLRACE_STACK__{name}_PORT", str(port + offset))
    monkeypatch.setenv("MILLRACE_BRIDGE__TOKEN", "a token only for this test")
    (CHECKOUT / ".millrace" / "inbox").mkdir(parents=True, exist_ok=True)
    with DockerCompose(str(CHECKOUT), compose_file_name="docker-compose.yml", services=STORES, wait=True):
        yield offset


@pytest.mark.docker
@pytest.mark.timeout(1200)
def test_the_composed_stores_serve_programs_of_the_host(composed: int) -> None:
    import redis
    from cassandra.cluster import Cluster
    from confluent_kafka.admin import AdminClient

    cluster = Cluster(["127.0.0.1"], port=9042 + composed, protocol_version=4)
    try:
        peers = list(cluster.connect().execute("SELECT data_center FROM system.peers"))
    finally:
        cluster.shutdown()
    assert [peer.data_center for peer in peers] == ["dc1"]
    assert AdminClient({"bootstrap.servers": f"127.0.0.1:{9092 + composed}"}).list_topics(timeout=30).brokers
    with redis.Redis(port=6379 + composed) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
