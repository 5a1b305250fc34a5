"""The services of ``docker-compose.yml`` that run this project's images: Airflow, the bridge, ``init`` and ``cli``."""

from __future__ import annotations

from typing import Any, Final

from local_stack.compose.images import AIRFLOW, BRIDGE, Image
from local_stack.compose.parts import (
    NODES,
    STAYS,
    health,
    healthy,
    mounted,
    published,
    read_only_folder,
    variable,
)
from local_stack.compose.stores import INSIDE_PORT
from local_stack.product import TOPIC
from local_stack.services.airflow import KEYSPACE, connections
from local_stack.services.airflow import options as airflow_options
from local_stack.services.bridge import CONFIGURATION
from local_stack.services.cassandra import DATACENTER
from local_stack.settings import StackSettings

__all__ = ["airflow", "bridge", "cli", "init"]

INIT_WAIT_S: Final = 300
MILLRACE: Final = ["python", "-m", "millrace"]
_CONF: Final = "/opt/millrace/conf"
_AFTER_INIT: Final = {"init": {"condition": "service_completed_successfully"}}


def _environment() -> dict[str, str]:
    return {
        "MILLRACE_CASSANDRA__CONTACT_POINTS": ",".join(NODES),
        "MILLRACE_CASSANDRA__LOCAL_DC": DATACENTER,
        "MILLRACE_CASSANDRA__KEYSPACE": KEYSPACE,
        "MILLRACE_REDIS__URL": "redis://redis:6379/0",
        "MILLRACE_KAFKA__BOOTSTRAP_SERVERS": f"kafka:{INSIDE_PORT}",
        "MILLRACE_KAFKA__TOPIC": TOPIC,
        "MILLRACE_BRIDGE__URL": f"http://127.0.0.1:{variable('bridge_port')}",
        "MILLRACE_SOURCES__ROOTS": "/opt/millrace/inbox",
        "MILLRACE_HOME": "/tmp/millrace",  # noqa: S108  inside the container
    }


def _ours(image: Image, **more: Any) -> dict[str, Any]:
    target = image.name.partition(":")[0].removeprefix("millrace-")
    return {
        "image": image.name,
        "build": {"context": ".", "target": target},
        **more,
        "environment": {**_environment(), **more.get("environment", {})},
        "volumes": [read_only_folder("./.millrace/inbox", "/opt/millrace/inbox"), *more.get("volumes", [])],
        "networks": ["millrace"],
    }


def _answers(port: int, path: str, wrong: str) -> list[str]:
    """Return a health check in Python, which both images contain; it uses no proxy of the environment."""
    asked = f"c = http.client.HTTPConnection('127.0.0.1', {port}, timeout=5); c.request('GET', '{path}')"
    return ["CMD", "python", "-c", f"import http.client, json; {asked}; raise SystemExit({wrong})"]


def init() -> dict[str, Any]:
    """Return the service that runs ``millrace init`` once, before the other containers of this project start."""
    return _ours(
        BRIDGE,
        command=[*MILLRACE, "init", "--wait-s", str(INIT_WAIT_S)],
        depends_on=healthy(*NODES, "kafka", "redis"),
        restart="no",
    )


def cli() -> dict[str, Any]:
    """Return the command line for ``docker compose run``; it uses the same addresses as the other services."""
    return _ours(BRIDGE, entrypoint=MILLRACE, command=["--help"], profiles=["cli"], depends_on=_AFTER_INIT)


def airflow() -> dict[str, Any]:
    """Return Airflow as one container."""
    parallelism = StackSettings.model_fields["airflow_parallelism"].default
    (passwords,) = AIRFLOW.files
    return _ours(
        AIRFLOW,
        command=["airflow", "standalone"],
        init=True,
        # At SIGINT `standalone` stops its components in order. At SIGTERM it does not stop them.
        stop_signal="SIGINT",
        environment={
            **airflow_options(parallelism),
            **connections(list(NODES), 9042, "redis", 6379, f"kafka:{INSIDE_PORT}"),
            "MILLRACE_SOURCES__FILE": f"{_CONF}/sources.yaml",
            "MILLRACE_TRAINING__FILE": f"{_CONF}/training.yaml",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": passwords,
            "AIRFLOW__CORE__DAGS_FOLDER": "/opt/millrace/dags",
            "AIRFLOW__CORE__PLUGINS_FOLDER": "/opt/millrace/plugins",
            "AIRFLOW__API__BASE_URL": "http://localhost:8080",
        },
        configs=[mounted("airflow-passwords", passwords, uid=str(AIRFLOW.uid), gid="0", mode="0600")],
        # The folder, because the mount of a file alone would not follow an editor that replaces it.
        volumes=[read_only_folder("./conf", _CONF), "airflow:/opt/airflow"],
        ports=[published("airflow", 8080)],
        depends_on=_AFTER_INIT,
        healthcheck=health(
            *_answers(
                8080,
                "/api/v2/monitor/health",
                "any(part['status'] != 'healthy' for part in json.load(c.getresponse()).values())",
            ),
            start_s=120,
        ),
        **STAYS,
    )


def bridge() -> dict[str, Any]:
    """Return the bridge."""
    origins = (f"http://{host}:{variable('airflow_port')}" for host in ("127.0.0.1", "localhost"))
    return _ours(
        BRIDGE,
        command=["gunicorn", "-c", CONFIGURATION],
        environment={
            # Inside its container the bridge cannot listen on loopback, and on any other address it requires a token.
            # The variable has a default here, because otherwise `docker compose down` would require it, too.
            "MILLRACE_BRIDGE__HOST": "0.0.0.0",
            "MILLRACE_BRIDGE__PORT": "8085",
            "MILLRACE_BRIDGE__TOKEN": "${MILLRACE_BRIDGE__TOKEN:-}",
            "MILLRACE_BRIDGE__AIRFLOW_ORIGINS": ",".join(origins),
        },
        ports=[published("bridge", 8085)],
        depends_on=_AFTER_INIT,
        ulimits={"nofile": 65536},
        healthcheck=health(*_answers(8085, "/readyz", "c.getresponse().status != 200")),
        **STAYS,
    )
