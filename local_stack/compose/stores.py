"""Cassandra, Kafka and Redis in ``docker-compose.yml``."""

from __future__ import annotations

from typing import Any, Final

from local_stack.compose.images import CASSANDRA, KAFKA, REDIS
from local_stack.compose.parts import STAYS, config, health, healthy, mounted, published, variable
from local_stack.services.cassandra import CLUSTER_NODES, SERVER_FLAGS
from local_stack.services.kafka import CLUSTER_ID
from local_stack.services.redis import options as redis_options
from local_stack.templating import render

__all__ = ["INSIDE_PORT", "SUBNET", "cassandra", "cassandra_yaml", "kafka", "kafka_properties", "redis"]

HEAP_MB: Final = 1024
REDIS_MAXMEMORY_MB: Final = 1024
SUBNET: Final = "172.30.85"
INSIDE_PORT: Final = 19092
"""The port that Kafka advertises to other containers. Programs on the host use another listener and port."""


def cassandra(number: int) -> dict[str, Any]:
    """Return node ``number``.

    The health check of the first node passes when it answers, that of the second when both nodes see each other up.
    """
    name = f"cassandra-{number}"
    service = {
        "image": CASSANDRA.name,
        "hostname": name,
        # The image's own entry point would rewrite the configuration that is mounted here.
        "entrypoint": ["cassandra", "-f"],
        "user": "cassandra",
        "environment": {"MAX_HEAP_SIZE": f"{HEAP_MB}M", "JVM_EXTRA_OPTS": " ".join(SERVER_FLAGS)},
        "configs": [
            mounted(f"{name}.yaml", "/etc/cassandra/cassandra.yaml"),
            mounted("rackdc.properties", "/etc/cassandra/cassandra-rackdc.properties"),
        ],
        "volumes": [f"{name}:/var/lib/cassandra"],
        "networks": {"millrace": {"ipv4_address": f"{SUBNET}.1{number}"}},
        "ulimits": {"nofile": 65536, "memlock": -1},
        **STAYS,
    }
    if number == 1:
        return {
            **service,
            "ports": [published("cassandra", 9042)],
            "healthcheck": health("CMD-SHELL", f"cqlsh {name} -e 'DESCRIBE CLUSTER'"),
        }
    all_up = f"test \"$$(nodetool status | grep -c '^UN ')\" -eq {CLUSTER_NODES}"
    return {
        **service,
        # Docker Desktop publishes on 127.0.0.1 only, so the second node has its own port instead of its own address.
        "ports": ["127.0.0.1:${CASSANDRA_2_PORT:-9043}:9042"],
        # Two nodes that start at the same moment may never find each other, or each take the other's token ranges.
        "depends_on": healthy("cassandra-1"),
        "healthcheck": health("CMD-SHELL", f"cqlsh {name} -e 'DESCRIBE CLUSTER' && {all_up}", interval_s=10),
    }


def cassandra_yaml(number: int) -> dict[str, str]:
    """Return the configuration of node ``number``."""
    text = render(
        "cassandra.yaml",
        listen_address=f"{SUBNET}.1{number}",
        rpc_address="0.0.0.0",
        broadcast_rpc_address=f"{SUBNET}.1{number}",
        native_port=9042,
        storage_port=7000,
        seeds=[f"{SUBNET}.1{n}:7000" for n in range(1, CLUSTER_NODES + 1)],
        auto_bootstrap=number > CLUSTER_NODES,
        folder="/var/lib/cassandra",
        commitlog_disk_access_mode="legacy",
        heap_mb=HEAP_MB,
    )
    return config(text)


def kafka_properties() -> dict[str, str]:
    """Return the broker's configuration; the address advertised to the host follows the published port."""
    text = render(
        "server.properties",
        listeners=[
            {"name": "INSIDE", "listen": f"0.0.0.0:{INSIDE_PORT}", "advertised": f"kafka:{INSIDE_PORT}"},
            {"name": "PLAINTEXT", "listen": "0.0.0.0:9092", "advertised": "127.0.0.1:KAFKA_PORT"},
        ],
        controller_port=9093,
        folder="/var/lib/kafka/data",
    )
    return {"content": config(text)["content"].replace("KAFKA_PORT", variable("kafka_port"))}


def kafka() -> dict[str, Any]:
    """Return the broker, which is its own controller."""
    (properties,) = KAFKA.files
    listed = f"/opt/kafka/bin/kafka-topics.sh --bootstrap-server localhost:{INSIDE_PORT} --list"
    return {
        "image": KAFKA.name,
        "environment": {"CLUSTER_ID": CLUSTER_ID, "KAFKA_HEAP_OPTS": "-Xms256m -Xmx512m"},
        "configs": [mounted("server.properties", properties, mode="0644")],
        "volumes": ["kafka:/var/lib/kafka/data"],
        "networks": ["millrace"],
        "ports": [published("kafka", 9092)],
        "healthcheck": health("CMD-SHELL", listed),
        **STAYS,
    }


def redis() -> dict[str, Any]:
    """Return Redis, the cache's server, which stores nothing on disk."""
    maxmemory = redis_options(REDIS_MAXMEMORY_MB).items()
    return {
        "image": REDIS.name,
        "command": ["redis-server", *(part for name, value in maxmemory for part in (f"--{name}", value))],
        "networks": ["millrace"],
        "ports": [published("redis", 6379)],
        # redis-cli exits with 0 for "LOADING" and for refusals, too, so its output is checked.
        "healthcheck": health("CMD-SHELL", "redis-cli ping | grep -q PONG", start_s=5),
        **STAYS,
    }
