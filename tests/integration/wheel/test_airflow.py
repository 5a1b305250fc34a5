"""A real Airflow that has nothing but the wheel with its extra: the DAGs come from the documented bundle."""

from __future__ import annotations

import configparser
import json
import re
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from local_stack.airflow_client import AirflowClient
from local_stack.services.airflow import USER, options
from local_stack.settings import CHECKOUT
from local_stack.stack import Stack
from millrace import Store
from millrace.errors import StackError
from millrace.settings import load_settings
from tests.integration.wheel.conftest import Environment, Install
from tests.ports import free_ports

# Airflow and its 140 packages are installed into an empty environment first, which takes minutes.
pytestmark = pytest.mark.full

ROWS = 1000
START_S = 240
LOAD_S = 240


def documented_bundles() -> str:
    """Return the line of configuration that docs/airflow.md shows."""
    [block] = re.findall(r"```ini\n(.*?)```", (CHECKOUT / "docs" / "airflow.md").read_text(), re.DOTALL)
    parser = configparser.ConfigParser()
    parser.read_string(block)
    return parser["dag_processor"]["dag_bundle_config_list"]


def airflow_environment(environment: Environment, stack: Stack, folder: Path) -> dict[str, str]:
    """Return the variables of an Airflow with the connections to the services of the test run."""
    port, *log_ports = map(str, free_ports(3))
    (folder / "dags").mkdir()
    (folder / "passwords.json").write_text(json.dumps({USER: secrets.token_urlsafe(12)}))
    connections = {k: v for k, v in stack.one("airflow").env().items() if k.startswith("AIRFLOW_CONN_")}
    return {
        **environment.process_environment(),
        **options(2),
        **connections,
        "PYTHONWARNINGS": "default",
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": port,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(folder / "passwords.json"),
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": documented_bundles(),
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(folder / "bundles"),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": log_ports[0],
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": log_ports[1],
        "MILLRACE_SOURCES__ROOTS": str(environment.working_directory),
        "no_proxy": "127.0.0.1,localhost",
    }


@pytest.fixture(scope="module")
def environment(install: Install) -> Environment:
    return install("airflow")


@pytest.fixture(scope="module")
def airflow(
    environment: Environment, stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AirflowClient]:
    """Start Airflow and return a client of it."""
    folder = tmp_path_factory.mktemp("airflow")
    variables = airflow_environment(environment, stack, folder)
    with (folder / "log").open("wb") as log:
        command = [str(environment.scripts / "airflow"), "standalone"]
        process = subprocess.Popen(command, env=variables, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        password = json.loads((folder / "passwords.json").read_text())[USER]
        with connected(variables["AIRFLOW__API__BASE_URL"], password, process, folder / "log") as client:
            yield client
    finally:
        stop(process)


def connected(url: str, password: str, process: subprocess.Popen[bytes], log: Path) -> AirflowClient:
    """Return a client once Airflow responds."""
    deadline = time.monotonic() + START_S
    while True:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            return AirflowClient(url, USER, password)
        except StackError:
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(1)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop the components in order, as ``standalone`` does at SIGINT, and kill those that remain."""
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(30)
    for child in (*children, process):
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            child.kill()


def test_the_plugin_and_each_dag_are_found_once(airflow: AirflowClient) -> None:
    assert airflow.wait_for_dag("ingest_dataset", timeout_s=120)["bundle_name"] == "millrace"
    for dag_id in ("maintain_store", "prepare_training_data", "train_model"):
        assert airflow.wait_for_dag(dag_id, timeout_s=120)["bundle_name"] == "millrace"
    assert airflow.get("/api/v2/importErrors")["import_errors"] == []
    assert airflow.get("/api/v2/plugins/importErrors")["import_errors"] == []
    [plugin] = [each for each in airflow.get("/api/v2/plugins")["plugins"] if each["name"] == "millrace"]
    assert "millrace.airflow.plugin:MillracePlugin" in plugin["source"]


def test_a_load_runs_from_the_wheel_alone(airflow: AirflowClient, environment: Environment) -> None:
    airflow.wait_for_dag("ingest_dataset", timeout_s=120)
    dataset = f"wheel_{uuid4().hex[:8]}"
    file = environment.working_directory / f"{dataset}.csv"
    file.write_text("id,name\n" + "".join(f"{number},row {number}\n" for number in range(ROWS)))
    run = airflow.trigger("ingest_dataset", {"dataset": dataset, "source": file.name})
    result = airflow.wait_for_run("ingest_dataset", run, timeout_s=LOAD_S)
    assert (result.state, result.results["publish"]["rows"]) == ("success", ROWS)
    with Store.connect(load_settings()) as store:
        assert store.dataset(dataset).count_rows() == ROWS
