"""Fixtures for tests of DAGs: Airflow in this process for ``dag.test``, and a real one that also reads probe DAGs."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from local_stack.airflow_client import AirflowClient
from local_stack.settings import CHECKOUT
from local_stack.stack import Stack
from millrace.api import Store
from millrace.settings import load_settings
from tests.airflow_home import use_airflow_home
from tests.dags.events import EventLog

DAGS_FOLDER = "MILLRACE_STACK__AIRFLOW_DAGS_FOLDER"
SOURCES_FILE = "MILLRACE_SOURCES__FILE"
TRAINING_FILE = "MILLRACE_TRAINING__FILE"


def _probes_beside_our_dags() -> None:
    """Make the standalone Airflow of this run read the probe DAGs as well as the DAGs of the checkout."""
    if DAGS_FOLDER in os.environ:
        return
    folder = Path(tempfile.mkdtemp(prefix="millrace-test-dags-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for source in (*(CHECKOUT / "dags").glob("*.py"), *Path(__file__).parent.glob("probe/*.py")):
        (folder / source.name).symlink_to(source)
    os.environ[DAGS_FOLDER] = str(folder)


def _nothing_declared() -> None:
    """Make this run read files of declarations of its own, which do not exist until a test writes them."""
    for name in (SOURCES_FILE, TRAINING_FILE):
        if name not in os.environ:
            folder = Path(tempfile.mkdtemp(prefix="millrace-test-declared-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            os.environ[name] = str(folder / ("sources.yaml" if name == SOURCES_FILE else "training.yaml"))


# At collection time, because the tests of another folder may be the first to start Airflow.
_probes_beside_our_dags()
_nothing_declared()
use_airflow_home()


@pytest.fixture(scope="session")
def airflow_database() -> None:
    """Set up the database of the Airflow in this process, and the API that its tasks call."""
    from airflow.utils.db import initdb

    initdb()
    with warnings.catch_warnings():
        # Airflow imports a deprecated test client.
        warnings.simplefilter("ignore")
        import_module("airflow.api_fastapi.execution_api.app")


@pytest.fixture
def connections(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the connections that the stack gives to its own Airflow."""
    for name, value in stack.one("airflow").env().items():
        if name.startswith("AIRFLOW_CONN_"):
            monkeypatch.setenv(name, value)


@pytest.fixture
def inbox(stack: Stack) -> Path:
    """Return the folder that the form takes sources from."""
    return Path(load_settings().sources.roots[0])


@pytest.fixture
def store(stack: Stack) -> Iterator[Store]:
    """Connect to the store of the stack by the settings in force."""
    with Store.connect(load_settings()) as opened:
        yield opened


@pytest.fixture
def events(stack: Stack) -> Iterator[EventLog]:
    """Read all events on the topic of progress."""
    with EventLog(load_settings().kafka) as log:
        yield log


@pytest.fixture
def sources_file(stack: Stack) -> Iterator[Path]:
    """Return the file of declared sources, which is removed after the test."""
    path = Path(os.environ[SOURCES_FILE])
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture
def training_file(stack: Stack) -> Iterator[Path]:
    """Return the file of declared training data, which is removed after the test."""
    path = Path(os.environ[TRAINING_FILE])
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture
def sinks_closed() -> Iterator[None]:
    """Close the sinks after a test that ran tasks in this process; a real task's process closes them at its end."""
    from millrace.airflow import sender

    yield
    for _, sink in sender._sinks:
        sink.close()


def run_here(dag: Any, **options: Any) -> Any:
    """Run a DAG in this process, without the delays of retries, which would only make the test slow."""
    for task in dag.tasks:
        task_options: dict[str, Any] = getattr(task, "partial_kwargs", None) or vars(task)
        task_options["retry_policy"].first_delay_s = 0
    return dag.test(**options)


@pytest.fixture
def run_dag(airflow_database: None, connections: None, sinks_closed: None) -> Callable[..., Any]:
    """Return a function that runs a DAG, ``ingest_dataset`` by default, in this process and returns its DagRun."""
    from airflow.dag_processing.dagbag import DagBag

    def run(dag_id: str = "ingest_dataset", /, **conf: Any) -> Any:
        bag = DagBag(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
        assert bag.import_errors == {}
        return run_here(bag.dags[dag_id], run_conf=conf)

    return run


@pytest.fixture(scope="session")
def airflow(full_stack: Stack) -> Iterator[AirflowClient]:
    """Return a client of the standalone Airflow of this run."""
    airflow_settings = load_settings().airflow
    assert airflow_settings.password is not None
    with AirflowClient(
        airflow_settings.url, airflow_settings.username, airflow_settings.password.get_secret_value()
    ) as client:
        yield client


@pytest.fixture(scope="session")
def probe_folder(full_stack: Stack) -> None:
    """Check that this run's Airflow reads the probe DAGs."""
    started = full_stack.one("airflow").started
    process = started.process if started else None
    if process is None or process.environ().get("AIRFLOW__CORE__DAGS_FOLDER") != os.environ[DAGS_FOLDER]:
        pytest.skip("the Airflow that was given to this run does not read the probe DAGs")


@pytest.fixture
def probe(probe_folder: None, airflow: AirflowClient) -> str:
    """Return the id of the DAG with dying tasks, once this run's Airflow has read it."""
    return str(airflow.wait_for_dag("ingest_probe", timeout_s=120)["dag_id"])
