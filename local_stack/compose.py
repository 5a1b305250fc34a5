"""``docker-compose.yml``: the same system for those who have Docker, from the same templates and descriptions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from local_stack.product import TOPIC
from local_stack.services.airflow import KEYSPACE, connections
from local_stack.services.airflow import options as airflow_options
from local_stack.services.bridge import CONFIGURATION
from local_stack.services.cassandra import CLUSTER_NODES, DATACENTER, SERVER_FLAGS
from local_stack.services.kafka import CLUSTER_ID
from local_stack.services.redis import options as redis_options
from local_stack.settings import CHECKOUT, ENV_PREFIX, StackSettings
from local_stack.templating import render

COMPOSE_FILE = CHECKOUT / "docker-compose.yml"

CASSANDRA_IMAGE = "cassandra:5.0.9"
KAFKA_IMAGE = "apache/kafka:4.3.1"
REDIS_IMAGE = "redis:6.2.14"
AIRFLOW_IMAGE = "apache/airflow:3.3.2-python3.12"
PRODUCT_IMAGE = "millrace:0.1.0"

HEAP_MB = 1024
REDIS_MAXMEMORY_MB = 1024
SUBNET = "172.30.85"
INSIDE_PORT = 19092
"""Kafka tells each client where to come back to: programs of the host here, other containers there."""

HEADER = """\
# Millrace with Docker:
#   mkdir -p .millrace/inbox && MILLRACE_BRIDGE__TOKEN=<a secret of yours> docker compose up --detach
#
# Rendered by `python -m local_stack compose` from local_stack/; `./run check` verifies that it is current.
# It is checked against the Compose specification, but has NOT been run where this project is developed.
#
# Same services, versions, ports and settings as `./run up`; ports are published on loopback only and moved by the
# same variables (MILLRACE_STACK__CASSANDRA_PORT=19042 docker compose up). Airflow writes its password to its log:
# docker compose logs airflow | grep Password. Programs on the host are sent on to the nodes' own addresses
# (172.30.85.11 and .12), which a Linux host reaches.
"""

DOCKERFILE = f"""\
FROM {AIRFLOW_IMAGE}
COPY requirements.txt /tmp/requirements.txt
RUN pip install --no-cache-dir --require-hashes --no-deps -r /tmp/requirements.txt
ENV PYTHONPATH=/opt/millrace
WORKDIR /opt/millrace
"""


def _published(name: str, host: str, inside: int) -> str:
    setting = f"{name}_port"
    default = StackSettings.model_fields[setting].default
    return f"{host}:${{{ENV_PREFIX}{setting.upper()}:-{default}}}:{inside}"


def _health(*test: str, start_s: int = 60) -> dict[str, Any]:
    return {"test": list(test), "interval": "5s", "timeout": "10s", "retries": 12, "start_period": f"{start_s}s"}


def _config(text: str) -> dict[str, str]:
    return {"content": text.replace("$", "$$")}


def _mounted(**targets: str) -> list[dict[str, str]]:
    return [{"source": source, "target": target} for source, target in targets.items()]


def _cassandra(number: int) -> dict[str, Any]:
    name = f"cassandra-{number}"
    return {
        "image": CASSANDRA_IMAGE,
        "hostname": name,
        # The image's own entry point would rewrite the configuration that is mounted here.
        "entrypoint": ["cassandra", "-f"],
        "user": "cassandra",
        "environment": {"MAX_HEAP_SIZE": f"{HEAP_MB}M", "JVM_EXTRA_OPTS": " ".join(SERVER_FLAGS)},
        "configs": _mounted(
            **{
                f"{name}.yaml": "/etc/cassandra/cassandra.yaml",
                "rackdc.properties": "/etc/cassandra/cassandra-rackdc.properties",
            }
        ),
        "volumes": [f"{name}:/var/lib/cassandra"],
        "networks": {"millrace": {"ipv4_address": f"{SUBNET}.1{number}"}},
        "ports": [_published("cassandra", f"127.0.0.{number}", 9042)],
        "ulimits": {"nofile": 65536, "memlock": -1},
        "healthcheck": _health("CMD-SHELL", f"cqlsh {name} -e 'DESCRIBE CLUSTER'"),
    }


def _cassandra_yaml(number: int) -> str:
    return render(
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


def _kafka_properties() -> str:
    return render(
        "server.properties",
        listeners=[
            {"name": "INSIDE", "listen": f"0.0.0.0:{INSIDE_PORT}", "advertised": f"kafka:{INSIDE_PORT}"},
            {"name": "PLAINTEXT", "listen": "0.0.0.0:9092", "advertised": "127.0.0.1:KAFKA_PORT"},
        ],
        controller_port=9093,
        folder="/var/lib/kafka/data",
    )


def _product_environment() -> dict[str, str]:
    nodes = [f"cassandra-{n}" for n in range(1, CLUSTER_NODES + 1)]
    return {
        "MILLRACE_CASSANDRA__CONTACT_POINTS": ",".join(nodes),
        "MILLRACE_CASSANDRA__LOCAL_DC": DATACENTER,
        "MILLRACE_CASSANDRA__KEYSPACE": KEYSPACE,
        "MILLRACE_REDIS__URL": "redis://redis:6379/0",
        "MILLRACE_KAFKA__BOOTSTRAP_SERVERS": f"kafka:{INSIDE_PORT}",
        "MILLRACE_KAFKA__TOPIC": TOPIC,
        "MILLRACE_BRIDGE__URL": f"http://127.0.0.1:${{{ENV_PREFIX}BRIDGE_PORT:-8085}}",
        "MILLRACE_SOURCES__ROOTS": "/opt/millrace/inbox",
        "MILLRACE_HOME": "/tmp/millrace",  # noqa: S108  of the container
    }


def _product(command: list[str], **more: Any) -> dict[str, Any]:
    code = [f"./{name}:/opt/millrace/{name}:ro" for name in ("pipeline", "sse_bridge", "dags", "plugins")]
    inbox = {
        "type": "bind",
        "source": "./.millrace/inbox",
        "target": "/opt/millrace/inbox",
        "read_only": True,
        # Docker would make the folder as root, and ./run could not write beside it.
        "bind": {"create_host_path": False},
    }
    return {
        "image": PRODUCT_IMAGE,
        "build": {"context": ".", "dockerfile_inline": DOCKERFILE},
        "command": command,
        "environment": {**_product_environment(), **more.pop("environment", {})},
        "volumes": [*code, inbox, *more.pop("volumes", [])],
        "networks": ["millrace"],
        **more,
    }


def _airflow(stores: list[str]) -> dict[str, Any]:
    nodes = [f"cassandra-{n}" for n in range(1, CLUSTER_NODES + 1)]
    parallelism = StackSettings.model_fields["airflow_parallelism"].default
    return _product(
        ["airflow", "standalone"],
        environment={
            **airflow_options(parallelism),
            **connections(nodes, 9042, "redis", 6379, f"kafka:{INSIDE_PORT}"),
            "AIRFLOW__CORE__DAGS_FOLDER": "/opt/millrace/dags",
            "AIRFLOW__CORE__PLUGINS_FOLDER": "/opt/millrace/plugins",
            "AIRFLOW__API__BASE_URL": "http://localhost:8080",
        },
        volumes=["airflow:/opt/airflow"],
        ports=[_published("airflow", "127.0.0.1", 8080)],
        depends_on={name: {"condition": "service_healthy"} for name in stores},
        healthcheck=_health(
            "CMD-SHELL",
            "curl --fail --silent http://localhost:8080/api/v2/monitor/health | grep -qv unhealthy",
            start_s=120,
        ),
    )


def _bridge() -> dict[str, Any]:
    origins = (f"http://{host}:${{{ENV_PREFIX}AIRFLOW_PORT:-8080}}" for host in ("127.0.0.1", "localhost"))
    return _product(
        ["gunicorn", "-c", CONFIGURATION],
        environment={
            # Inside its container it cannot listen on loopback, and it opens to no one else without a token.
            "MILLRACE_BRIDGE__HOST": "0.0.0.0",
            "MILLRACE_BRIDGE__PORT": "8085",
            "MILLRACE_BRIDGE__TOKEN": "${MILLRACE_BRIDGE__TOKEN:?a secret of at least 16 characters}",
            "MILLRACE_BRIDGE__AIRFLOW_ORIGINS": ",".join(origins),
        },
        ports=[_published("bridge", "127.0.0.1", 8085)],
        depends_on={"init": {"condition": "service_completed_successfully"}},
        ulimits={"nofile": 65536},
        healthcheck=_health("CMD-SHELL", "curl --fail --silent http://localhost:8085/readyz"),
    )


def compose() -> dict[str, Any]:
    """Return the Compose model: the stack's services, and ``init`` in place of what ``./run up`` does itself."""
    nodes = [f"cassandra-{n}" for n in range(1, CLUSTER_NODES + 1)]
    stores = [*nodes, "kafka", "redis"]
    maxmemory = redis_options(REDIS_MAXMEMORY_MB).items()
    kafka_port = f"${{{ENV_PREFIX}KAFKA_PORT:-9092}}"
    kafka_properties = _config(_kafka_properties())["content"].replace("KAFKA_PORT", kafka_port)
    return {
        "name": "millrace",
        "services": {
            **{name: _cassandra(number) for number, name in enumerate(nodes, 1)},
            "kafka": {
                "image": KAFKA_IMAGE,
                "environment": {"CLUSTER_ID": CLUSTER_ID, "KAFKA_HEAP_OPTS": "-Xms256m -Xmx512m"},
                "configs": _mounted(**{"server.properties": "/mnt/shared/config/server.properties"}),
                "volumes": ["kafka:/var/lib/kafka/data"],
                "networks": ["millrace"],
                "ports": [_published("kafka", "127.0.0.1", 9092)],
                "healthcheck": _health(
                    "CMD-SHELL", f"/opt/kafka/bin/kafka-topics.sh --bootstrap-server localhost:{INSIDE_PORT} --list"
                ),
            },
            "redis": {
                "image": REDIS_IMAGE,
                "command": ["redis-server", *(part for name, value in maxmemory for part in (f"--{name}", value))],
                "networks": ["millrace"],
                "ports": [_published("redis", "127.0.0.1", 6379)],
                "healthcheck": _health("CMD", "redis-cli", "ping", start_s=5),
            },
            "airflow": _airflow(stores),
            "bridge": _bridge(),
            "init": _product(
                ["python", "-m", "pipeline", "init"],
                depends_on={name: {"condition": "service_healthy"} for name in stores},
                restart="no",
            ),
        },
        "networks": {"millrace": {"ipam": {"config": [{"subnet": f"{SUBNET}.0/24"}]}}},
        "volumes": {name: {} for name in (*nodes, "kafka", "airflow")},
        "configs": {
            **{f"{name}.yaml": _config(_cassandra_yaml(number)) for number, name in enumerate(nodes, 1)},
            "rackdc.properties": _config(render("cassandra-rackdc.properties", datacenter=DATACENTER)),
            "server.properties": {"content": kafka_properties},
        },
    }


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as they would be written by hand, and no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def compose_file() -> str:
    """Return the text of ``docker-compose.yml``."""
    return HEADER + yaml.dump(compose(), Dumper=_Dumper, sort_keys=False, width=120)


def is_current(path: Path = COMPOSE_FILE) -> bool:
    """Return whether the file is what would be rendered now."""
    return path.exists() and path.read_text() == compose_file()
