"""Cassandra alone is enough to load: ``./run up cassandra``, ``millrace init``, ``./run airflow``, as typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local_stack.product import INBOX
from local_stack.settings import CHECKOUT, load_stack_settings
from local_stack.stack import Stack
from millrace.settings import load_settings
from millrace.store.cluster.session import CassandraSession


def call(module: str, *arguments: str) -> tuple[int, str, str]:
    """Run a command of this checkout with the home of this test run."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(
        command, cwd=CHECKOUT, env=os.environ, capture_output=True, text=True, check=False, timeout=280
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def no_keyspace(stack: Stack) -> Iterator[Stack]:
    """Stop Kafka and drop the keyspace while the nodes are up; start Kafka again afterwards."""
    settings = load_settings().cassandra
    stack.down(["kafka"])
    cassandra = CassandraSession.connect(settings)
    try:
        cassandra.session.execute(f"DROP KEYSPACE IF EXISTS {settings.keyspace}", timeout=120)
    finally:
        cassandra.close()
    yield stack
    stack.up(["kafka"])


def test_up_cassandra_makes_the_keyspace_so_that_a_load_works_at_once(no_keyspace: Stack, tmp_path: Path) -> None:
    code, out, err = call("local_stack", "up", "cassandra")
    assert code == 0, err
    assert out.splitlines()[-1] == "millrace     tables exist; progress is off without kafka: ./run up kafka"
    source = tmp_path / "a.csv"
    source.write_text("a,b\n1,x\n2,y\n")
    code, out, err = call("millrace", "load", "at_once", str(source), "--json")
    assert code == 0, err
    assert json.loads(out)["rows"] == 2
    code, out, err = call("millrace", "init")
    assert code == 0, err
    assert "switched off" in out
    assert err.startswith("millrace: warning: progress is off: topic millrace.progress.v1 cannot be created")
    assert "Kafka at 127.0.0.1:" in err


def test_airflow_runs_any_command_with_the_stacks_environment_and_dags_test_loads(stack: Stack) -> None:
    source = stack.place.folder(INBOX) / "by_dags_test.csv"
    source.write_text("a,b\n1,x\n2,y\n3,z\n")
    conf = json.dumps({"dataset": "by_dags_test", "source": str(source)})
    code, out, err = call("local_stack", "airflow", "dags", "test", "ingest_dataset", "--conf", conf)
    assert code == 0, out + err
    code, out, err = call("millrace", "show", "by_dags_test", "--json")
    assert code == 0, err
    assert json.loads(out)["rows"] == 3
    code, out, err = call("local_stack", "airflow", "config", "get-value", "core", "dags_folder")
    assert (code, out.splitlines()[-1]) == (0, str(load_stack_settings().airflow_dags_folder)), err
    code, out, err = call("local_stack", "airflow", "connections", "get", "cassandra_default", "--output", "json")
    assert code == 0, err
    assert json.loads(out)[0]["port"] == str(load_settings().cassandra.port)
    code, _, err = call("local_stack", "airflow", "dags", "teste")
    assert code == 2, "Airflow's own exit code"
    assert "teste" in err
