from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace import progress


def test_the_origin_follows_from_the_dag_unless_it_is_given() -> None:
    assert progress.TaskIdentity("cli", "flights-1", "load").source == "/cli/cli/flights-1/load/-1/1"
    assert progress.TaskIdentity("python", "x-1", "load").source.startswith("/python/")
    assert progress.TaskIdentity("cli", "x", "y", origin="airflow").source.startswith("/airflow/cli/")
    with pytest.raises(ValueError, match="airflow, cli, python"):
        progress.TaskIdentity("a", "b", "c", origin="elsewhere")
    with pytest.raises(ValueError, match="run_id is empty"):
        progress.TaskIdentity("a", "", "c")


@given(st.tuples(*[st.text(min_size=1)] * 6))
def test_two_identities_never_share_a_source(parts: tuple[str, str, str, str, str, str]) -> None:
    one = progress.TaskIdentity(*parts[:3], origin="airflow")
    other = progress.TaskIdentity(*parts[3:], origin="airflow")
    assert (one.source == other.source) == (one == other)
    assert one.source.isascii()


def test_an_attempt_numbered_by_the_clock_is_above_every_counted_one() -> None:
    assert progress.attempt_now() > 200_000_000
    assert not progress.is_counted(progress.attempt_now())
    assert progress.is_counted(17)


def test_the_partition_of_a_run_never_changes() -> None:
    # Fixed values: if they changed, the events of one run would go to two partitions and lose their order.
    assert [progress.partition_of("ingest_dataset", f"run-{n}", 12) for n in range(6)] == [3, 5, 3, 9, 2, 8]
    code = "from millrace.progress import partition_of; print(partition_of('a', 'b', 1000))"
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1
