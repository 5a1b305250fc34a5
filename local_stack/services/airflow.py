"""Airflow: scheduler, DAG processor, triggerer and API server, as ``airflow standalone`` runs them together."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from datetime import datetime
from pathlib import Path

from local_stack.ports import Port
from local_stack.services.base import Service, StackLayout
from local_stack.services.cassandra import CLUSTER_NODES, DATACENTER
from local_stack.services.python import SCRIPTS, python_env
from local_stack.settings import CHECKOUT, ENV_PREFIX
from millrace.errors import StackError

USER = "admin"
KEYSPACE = "millrace"
# SQLite allows one writer at a time. With its default of 5 s, a click on a busy machine failed with a "Database error"
# while the scheduler or the DAG processor was writing.
DATABASE_WAIT_S = 30


def connections(cassandra: list[str], cassandra_port: int, redis: str, redis_port: int, kafka: str) -> dict[str, str]:
    """Return the three connections in the providers' own format, as variables for Airflow's environment."""
    described = {
        "cassandra_default": {
            "conn_type": "cassandra",
            "host": ",".join(cassandra),
            "port": cassandra_port,
            "schema": KEYSPACE,
            "extra": {
                "load_balancing_policy": "DCAwareRoundRobinPolicy",
                "load_balancing_policy_args": {"local_dc": DATACENTER},
                "protocol_version": 4,
            },
        },
        "redis_default": {"conn_type": "redis", "host": redis, "port": redis_port, "extra": {"db": 0}},
        "kafka_default": {"conn_type": "kafka", "extra": {"bootstrap.servers": kafka}},
    }
    return {f"AIRFLOW_CONN_{name.upper()}": json.dumps(fields) for name, fields in described.items()}


BUNDLES = (
    {"name": "dags-folder", "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle", "kwargs": {}},
    {"name": "declared-sources", "classpath": "millrace.airflow.bundle.DeclaredSourcesBundle", "kwargs": {}},
    {"name": "declared-training", "classpath": "millrace.airflow.bundle.DeclaredTrainingBundle", "kwargs": {}},
)
"""The DAGs of the folder ``dags``, and those of the entries of the files of declared sources and training data."""


def options(parallelism: int) -> dict[str, str]:
    """Return the Airflow options that this project sets in every deployment."""
    return {
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": str(parallelism),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(BUNDLES),
        # Airflow warns in each task's log about shorter words in a connection's extras, such as a data centre.
        "AIRFLOW__LOGGING__MIN_LENGTH_MASKED_SECRET": "1",
        # The first event of a new asset starts a run only after this interval; Airflow's default is 60 s.
        "AIRFLOW__SCHEDULER__PARSING_CLEANUP_INTERVAL": "5",
        # The task of a worker that died fails within a minute, not within five.
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "10",
        # One API server serves pages and tasks. On a busy machine its default of 5 s killed waiting tasks.
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "30",
        # The end of a failed task's process is seen up to so many seconds later. Until then it counts as running.
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }


class Airflow(Service):
    """All components of Airflow. It is ready when each has reported ``healthy`` since this start."""

    name = "airflow"
    grace_s = 20.0

    def __init__(self, place: StackLayout) -> None:
        super().__init__(place)
        self.folder = place.home / "airflow"
        self.passwords = self.folder / "passwords.json"
        self.database = self.folder / "airflow.db"

    @property
    def address(self) -> str:
        """Return the address for a browser."""
        return f"http://127.0.0.1:{self.place.settings.port('airflow')}"

    @property
    def memory_mb(self) -> int:
        """Return the memory of all its processes in MiB; 1.7 GB was measured with two workers."""
        return 1450 + 150 * self.place.settings.airflow_parallelism

    def ports(self) -> list[Port]:
        """Return the port of the API server; no other component listens."""
        return [Port("127.0.0.1", self.place.settings.port("airflow"), f"{ENV_PREFIX}AIRFLOW_PORT")]

    def password(self) -> str:
        """Return the password of ``USER``, made at the first call and readable by its owner only."""
        self.place.folder("airflow")
        if not self.passwords.exists():
            partial = self.passwords.with_suffix(".partial")
            partial.touch(mode=0o600)
            partial.write_text(json.dumps({USER: secrets.token_urlsafe(12)}))
            partial.replace(self.passwords)
        return str(json.loads(self.passwords.read_text())[USER])

    def prepare(self) -> None:
        """Create the password, and the wrapper that keeps other components from listening beyond loopback."""
        self.password()
        self.place.folder("airflow", "bin")
        wrapper = Path(self.program)
        # Scheduler and triggerer serve their logs on every interface, without a setting to prevent it. On one machine
        # the API server reads the files itself. `standalone` starts them by this name.
        wrapper.write_text(
            f'#!/bin/sh\ncase "$1" in\nscheduler | triggerer) set -- "$@" --skip-serve-logs ;;\nesac\n'
            f'exec "{SCRIPTS}/airflow" "$@"\n'
        )
        wrapper.chmod(0o755)

    @property
    def program(self) -> str:
        """Return the path of the wrapper."""
        return str(self.folder / "bin" / "airflow")

    def command(self) -> list[str]:
        """Return the command that runs all components in one session."""
        return [self.program, "standalone"]

    def make_database(self) -> None:
        """Create the tables of Airflow's database if the database does not exist.

        Raises ``StackError`` with Airflow's message if that fails.
        """
        if self.database.exists():
            return
        done = subprocess.run(
            [self.program, "db", "migrate"], env=self.env(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            self.database.unlink(missing_ok=True)
            raise StackError(f"airflow db migrate failed: {(done.stderr or done.stdout).strip()[-500:]}")

    def env(self) -> dict[str, str]:
        """Return the environment: options, addresses of the other services, and the wrapper first on the PATH."""
        settings = self.place.settings
        env = python_env(self.place)
        nodes = [f"127.0.0.{n}" for n in range(1, CLUSTER_NODES + 1)]
        kafka = f"127.0.0.1:{settings.port('kafka')}"
        return {
            **env,
            **options(settings.airflow_parallelism),
            **connections(nodes, settings.port("cassandra"), "127.0.0.1", settings.port("redis"), kafka),
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{env['PATH']}",
            "AIRFLOW_HOME": str(self.folder),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.database}?timeout={DATABASE_WAIT_S}",
            "AIRFLOW__CORE__DAGS_FOLDER": str(settings.airflow_dags_folder),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(CHECKOUT / "plugins"),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.passwords),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(settings.port("airflow")),
            "AIRFLOW__API__BASE_URL": self.address,
        }

    def not_ready(self) -> str | None:
        """Ask the API server for the state of all components."""
        import httpx

        started = self.started
        try:
            with httpx.Client(timeout=5, trust_env=False) as client:
                answer = client.get(f"{self.address}/api/v2/monitor/health")
            parts = answer.raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            return f"no health report ({error})"
        for part, report in parts.items():
            if report["status"] != "healthy":
                return f"{part} is {report['status']}"
            beat = report.get(f"latest_{part}_heartbeat")
            # A killed predecessor is reported as `healthy` for half a minute after its end.
            if beat and started and datetime.fromisoformat(beat).timestamp() < started.create_time:
                return f"{part} has not reported since this start"
        return None
