"""The installed wheel against the real services, with one extra at a time."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from uuid import uuid4

import httpx
import pyarrow.parquet as pq
import pytest

from millrace.progress import create_topic
from millrace.settings import Settings
from tests.integration.wheel.conftest import Environment, Install
from tests.ports import free_port
from tests.waiting import until

ROWS = 1000
Installed = Callable[[str], Environment]


@pytest.fixture(scope="module")
def topic(settings: Settings) -> str:
    """Create a topic for the events of these tests."""
    name = f"test-{uuid4().hex[:12]}"
    assert create_topic(settings.kafka.model_copy(update={"topic": name}))
    return name


@pytest.fixture(scope="module")
def variables(settings: Settings, topic: str) -> dict[str, str]:
    """Return the addresses of the services of the test run."""
    return {
        "MILLRACE_CASSANDRA__CONTACT_POINTS": ",".join(settings.cassandra.contact_points),
        "MILLRACE_CASSANDRA__PORT": str(settings.cassandra.port),
        "MILLRACE_CASSANDRA__LOCAL_DC": settings.cassandra.local_dc,
        "MILLRACE_CASSANDRA__KEYSPACE": settings.cassandra.keyspace,
        "MILLRACE_REDIS__URL": settings.redis.url.get_secret_value(),
        "MILLRACE_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "MILLRACE_KAFKA__TOPIC": topic,
    }


@pytest.fixture(scope="module")
def installed(install: Install, variables: dict[str, str]) -> Installed:
    """Return a function that gives the environment of an extra, with the addresses of the services."""
    return lambda extra: replace(install(extra), variables=variables)


def load(environment: Environment, dataset: str, *options: str) -> None:
    """Load a small CSV file."""
    file = environment.working_directory / f"{dataset}.csv"
    file.write_text("id,name\n" + "".join(f"{number},row {number}\n" for number in range(ROWS)))
    report = json.loads(environment.millrace("load", dataset, file.name, "--json", *options).stdout)
    assert (report["rows"], report["replicas"]) == (ROWS, 2)


def test_without_extras_a_dataset_is_loaded_and_read(installed: Installed) -> None:
    environment = installed("")
    load(environment, "plain")
    environment.millrace("read", "plain", "--columns", "id", "--filter", "id < 10", "--output", "part.parquet")
    part = pq.read_table(environment.working_directory / "part.parquet")
    assert sorted(part["id"].to_pylist()) == list(range(10))


def test_without_extras_doctor_names_each_one_once_and_commands_that_need_one_name_it(installed: Installed) -> None:
    environment = installed("")
    load(environment, "without")
    done = environment.run("millrace", "doctor", "--no-measure", "--json")
    checks = {check["name"]: check["result"] for check in json.loads(done.stdout)["checks"]}
    assert checks["redis"] == "switched off (redis is not installed: pip install 'millrace[redis]')"
    assert checks["kafka"] == "switched off (confluent_kafka is not installed: pip install 'millrace[kafka]')"
    warm = environment.run("millrace", "warm", "without")
    assert (warm.returncode, warm.stderr.count("\n")) == (1, 1)
    assert "redis is not installed: pip install 'millrace[redis]'" in warm.stderr
    init = environment.run("millrace", "init")
    assert (init.returncode, init.stderr.count("\n")) == (0, 1)
    assert "progress is off: confluent_kafka is not installed: pip install 'millrace[kafka]'" in init.stderr


def test_with_redis_a_version_is_warmed_and_read(installed: Installed) -> None:
    environment = installed("redis")
    load(environment, "warmed")
    report = json.loads(environment.millrace("warm", "warmed", "--json").stdout)
    assert (report["complete"], report["already_cached"]) == (True, 0)
    assert "row 0" in environment.millrace("read", "warmed", "--head", "1").stdout


@pytest.fixture(scope="module")
def bridge(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start the bridge of an environment of its own and return its address."""
    environment, port = installed("bridge"), free_port()
    url = f"http://127.0.0.1:{port}"
    own = {"MILLRACE_BRIDGE__PORT": str(port), "MILLRACE_BRIDGE__URL": url, "PYTHONWARNINGS": "default"}
    log = tmp_path_factory.mktemp("bridge") / "log"
    command = [str(environment.scripts / "gunicorn"), "-c", "python:sse_bridge.gunicorn_conf"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**environment.process_environment(), **own},
            cwd=environment.working_directory,
            stdout=output,
            stderr=output,
        )

    def ready() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return httpx.get(f"{url}/readyz", timeout=5, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    try:
        until(ready, f"the bridge to be ready, see {log}", timeout_s=60)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def test_with_kafka_a_load_is_reported_and_the_bridge_of_the_wheel_shows_it(installed: Installed, bridge: str) -> None:
    run = f"wheel-{uuid4().hex[:8]}"
    load(installed("kafka"), "reported", "--run-id", run)
    watched = installed("").run("millrace", "watch", f"cli/{run}", "--url", bridge, "--timeout-s", "60", "--json")
    assert watched.returncode == 0, watched.stderr
    [task] = json.loads(watched.stdout)["tasks"]
    assert (task["dataset"], task["state"]) == ("reported", "succeeded")
    assert task["unit"] == "bytes"
    assert task["done"] > ROWS


@pytest.mark.usefixtures("stack")
def test_the_bridge_of_the_wheel_serves_the_page_and_every_static_file(installed: Installed, bridge: str) -> None:
    with httpx.Client(base_url=bridge, timeout=30, trust_env=False) as client:
        page = client.get("/")
        assert (page.status_code, page.headers["content-type"].partition(";")[0]) == (200, "text/html")
        (static,) = installed("bridge").folder.glob("lib/python3*/site-packages/sse_bridge/static")
        for file in (path for path in static.rglob("*") if path.suffix in (".js", ".css", ".svg")):
            assert client.get(f"/static/{file.relative_to(static)}").status_code == 200, file
