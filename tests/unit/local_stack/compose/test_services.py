"""Start order, shutdown, restart and health checks of the services in ``docker-compose.yml``."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from local_stack.settings import StackSettings
from local_stack.stack import Stack
from tests.compose_file import health_command, read_compose

SERVICES: dict[str, dict[str, Any]] = read_compose()["services"]
HEALTHY = {"condition": "service_healthy"}


def test_the_second_node_begins_when_the_first_one_serves() -> None:
    assert SERVICES["cassandra-2"]["depends_on"] == {"cassandra-1": HEALTHY}
    assert "depends_on" not in SERVICES["cassandra-1"]


def test_init_waits_for_every_store_and_then_for_the_complete_ring() -> None:
    init = SERVICES["init"]
    assert init["depends_on"] == dict.fromkeys(["cassandra-1", "cassandra-2", "kafka", "redis"], HEALTHY)
    assert init["command"] == ["python", "-m", "millrace", "init", "--wait-s", "300"]
    assert init["restart"] == "no"


@pytest.mark.parametrize("name", ["airflow", "bridge", "cli"])
def test_services_that_need_the_keyspace_begin_after_init(name: str) -> None:
    assert SERVICES[name]["depends_on"] == {"init": {"condition": "service_completed_successfully"}}


def test_every_long_running_service_restarts_after_a_reboot() -> None:
    stays = {name for name, service in SERVICES.items() if service.get("restart") == "unless-stopped"}
    assert stays == set(SERVICES) - {"init", "cli"}


def test_every_service_has_at_least_the_grace_period_of_the_local_stack(settings: StackSettings) -> None:
    for service in Stack(settings).services():
        seconds = float(SERVICES[service.name].get("stop_grace_period", "10s").removesuffix("s"))
        assert seconds >= service.grace_s
        assert seconds >= 60 or not service.name.startswith("cassandra")


def test_airflow_is_stopped_with_the_signal_that_ends_its_processes_in_order() -> None:
    assert SERVICES["airflow"]["stop_signal"] == "SIGINT"


def test_the_cli_is_not_started_by_up_and_has_the_addresses_of_the_services() -> None:
    cli = SERVICES["cli"]
    assert cli["profiles"] == ["cli"]
    assert cli["entrypoint"] == ["python", "-m", "millrace"]
    assert cli["environment"]["MILLRACE_CASSANDRA__CONTACT_POINTS"] == "cassandra-1,cassandra-2"
    assert all("profiles" not in service for name, service in SERVICES.items() if name != "cli")


def healthy(name: str, folder: Path, **programs: str) -> bool:
    """Run a health check with stand-ins for the image's programs, each a line of shell."""
    for program, line in programs.items():
        path = folder / program.replace("_", "-")
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)
    env = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(health_command(SERVICES[name]), env=env, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("lines", "answer"),
    [
        (["UN  172.30.85.11  1 MiB", "UN  172.30.85.12  1 MiB"], True),
        (["UN  172.30.85.12  1 MiB"], False),
        (["DN  172.30.85.11  1 MiB", "UN  172.30.85.12  1 MiB"], False),
        (["UJ  172.30.85.12  1 MiB", "UN  172.30.85.11  1 MiB"], False),
    ],
)
def test_the_second_node_is_healthy_when_it_sees_both_up_and_normal(
    tmp_path: Path, lines: list[str], answer: bool
) -> None:
    nodetool = "\n".join(f"echo '{line}'" for line in ["Datacenter: dc1", "--  Address  Load", *lines])
    assert healthy("cassandra-2", tmp_path, cqlsh="exit 0", nodetool=nodetool) is answer
    assert not healthy("cassandra-2", tmp_path, cqlsh="exit 1")


def test_the_first_node_is_healthy_alone_because_the_second_waits_for_it(tmp_path: Path) -> None:
    assert healthy("cassandra-1", tmp_path, cqlsh="exit 0", nodetool="exit 1")
    assert not healthy("cassandra-1", tmp_path, cqlsh="exit 1")


@pytest.mark.parametrize(
    ("text", "answer"), [("PONG", True), ("LOADING Redis is loading", False), ("NOAUTH Authentication", False)]
)
def test_redis_is_healthy_when_it_answers_pong(tmp_path: Path, text: str, answer: bool) -> None:
    assert healthy("redis", tmp_path, redis_cli=f"echo '{text}'") is answer


@pytest.fixture
def reporting() -> Iterator[dict[str, Any]]:
    """Serve Airflow's health report; yield a dict with its ``port``, in which the test sets ``report``."""
    server_facts: dict[str, Any] = {}

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/api/v2/monitor/health" else 404)
            self.end_headers()
            self.wfile.write(json.dumps(server_facts["report"]).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Health) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        server_facts["port"] = server.server_address[1]
        yield server_facts
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("triggerer", "answer"), [("healthy", True), ("unhealthy", False), (None, False)], ids=["well", "ill", "silent"]
)
def test_airflow_is_healthy_when_each_of_its_parts_is(
    reporting: dict[str, Any], triggerer: str | None, answer: bool
) -> None:
    reporting["report"] = {"scheduler": {"status": "healthy"}, "triggerer": {"status": triggerer}}
    command = [word.replace("8080", str(reporting["port"])) for word in health_command(SERVICES["airflow"])]
    # The check must not use the proxy that Docker configures in containers.
    env = {**os.environ, "http_proxy": "http://127.0.0.1:1", "no_proxy": ""}
    done = subprocess.run(command, env=env, capture_output=True, check=False, timeout=60)
    assert (done.returncode == 0) is answer, done.stderr
