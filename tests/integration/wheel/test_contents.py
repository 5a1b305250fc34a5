"""The contents of the wheel, and its commands in an empty environment that has no service."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import pytest

from local_stack.settings import CHECKOUT
from tests.integration.wheel.conftest import Install

PACKAGES_MAX = 40
IMPORT_MAX_S = 0.3
EXTRAS = ("", "redis", "kafka", "sources", "prepare", "bridge", pytest.param("airflow", marks=pytest.mark.full))
FACES = {
    "": "import millrace.api",
    "redis": "import redis, hiredis",
    "sources": "import yaml, croniter, cron_descriptor, millrace.declarations",
    "kafka": "import confluent_kafka",
    "prepare": "import duckdb, sklearn.linear_model",
    "bridge": "import gunicorn, flask, prometheus_client, sse_bridge.app",
    "airflow": "import airflow, redis, confluent_kafka, millrace.airflow.plugin",
}
IMPORT = """
import json, sys, time
began = time.perf_counter()
import millrace
print(json.dumps([time.perf_counter() - began, sorted(sys.modules), millrace.__file__]))
"""


@cache
def interpreters() -> list[str]:
    """Return the oldest and the newest Python of 3.11 to 3.13 that can make environments."""
    check = "import ensurepip, sys; assert sys.version_info[:2] == (3, int(sys.argv[1])); print(sys.executable)"
    present = []
    for minor in (11, 12, 13):
        own = sys.version_info[:2] == (3, minor)
        command = [sys.executable if own else f"python3.{minor}", "-c", check, str(minor)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        except FileNotFoundError:
            continue
        if own or done.returncode == 0:
            present.append(sys.executable if own else done.stdout.strip())
    return list(dict.fromkeys([present[0], present[-1]]))


def files_of(folder: str) -> set[str]:
    """Return the files of a folder of the checkout, without what Python and builds leave in it."""
    names = (path.relative_to(CHECKOUT / folder) for path in (CHECKOUT / folder).rglob("*") if path.is_file())
    return {str(name) for name in names if "__pycache__" not in name.parts}


def test_the_wheel_holds_the_packages_with_their_data_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    packaged = {
        *files_of("pipeline"),
        *(f"sse_bridge/{name}" for name in files_of("sse_bridge")),
        *(f"millrace/airflow/dags/{name}" for name in files_of("dags")),
    }
    metadata = {name for name in names if name.startswith("millrace-") and ".dist-info/" in name}
    assert names - metadata == packaged
    assert {"millrace/py.typed", "sse_bridge/templates/page.html", "sse_bridge/static/page.js"} <= names
    assert any(name.endswith("/LICENSE") for name in metadata)


def test_without_extras_at_most_40_packages_are_installed(install: Install) -> None:
    packages = install().packages
    assert {"millrace", "pyarrow", "cassandra_driver"} <= packages
    assert len(packages) <= PACKAGES_MAX, packages
    assert not packages & {"apache_airflow", "flask", "gunicorn", "redis", "confluent_kafka", "pandas", "pytest"}


@pytest.mark.parametrize("python", interpreters(), ids=lambda path: Path(path).name)
@pytest.mark.parametrize("extra", EXTRAS)
def test_each_extra_installs_alone(install: Install, extra: str, python: str) -> None:
    environment = install(extra, python)
    assert environment.millrace("--version").stdout == "millrace 0.1.0\n"
    done = environment.run("python", "-W", "ignore", "-c", FACES[extra])
    assert done.returncode == 0, done.stderr


def test_commands_that_need_no_service_work_and_leave_nothing_in_the_home(install: Install) -> None:
    environment = install()
    assert "millrace load flights" in environment.millrace("--help").stdout
    settings = {each["name"]: each for each in json.loads(environment.millrace("config", "--json").stdout)["settings"]}
    assert settings["cassandra.keyspace"] == {"name": "cassandra.keyspace", "value": "millrace", "source": "default"}
    assert "[cassandra]" in environment.millrace("config", "--example").stdout
    assert list(environment.home.iterdir()) == []


def test_settings_come_from_the_working_directory_and_then_from_the_folder_of_the_user(install: Install) -> None:
    environment = install()
    folder = environment.home / ".config" / "millrace"
    folder.mkdir(parents=True)
    (folder / "millrace.toml").write_text("[cassandra]\nkeyspace = 'users'\nport = 9043\n")
    file = environment.working_directory / "millrace.toml"
    file.write_text("[cassandra]\nkeyspace = 'projects'\n")
    try:
        found = json.loads(environment.millrace("config", "--json").stdout)["settings"]
    finally:
        file.unlink()
        (folder / "millrace.toml").unlink()
    sources = {each["name"]: (each["value"], Path(each["source"]).name) for each in found}
    assert sources["cassandra.keyspace"] == ("projects", "millrace.toml")
    assert sources["cassandra.port"] == (9043, "millrace.toml")


def test_the_import_is_fast_and_loads_no_service(install: Install) -> None:
    environment = install()
    imports = [json.loads(environment.run("python", "-c", IMPORT).stdout) for _ in range(5)]
    _, modules, file = imports[0]
    assert Path(file).is_relative_to(environment.folder)
    assert not {"airflow", "flask", "pandas", "pyarrow", "pipeline"} & set(modules)
    assert min(seconds for seconds, *_ in imports) < IMPORT_MAX_S


def test_no_message_names_a_file_of_the_checkout(install: Install) -> None:
    done = install().run("millrace", "ls", MILLRACE_CASSANDRA__PORT="1")
    assert done.returncode == 1
    assert "MILLRACE_CASSANDRA__CONTACT_POINTS" in done.stderr
    assert "./run" not in done.stderr
