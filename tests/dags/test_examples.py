from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from local_stack.settings import CHECKOUT
from millrace.api import Store


def test_the_example_dag_loads_a_file_and_a_repeated_run_adds_nothing(
    airflow_database: None, connections: None, inbox: Path, store: Store
) -> None:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(CHECKOUT / "examples" / "dag_that_loads_a_file.py"))
    assert bag.import_errors == {}
    load = bag.dags["load_a_file"].get_task("load").python_callable
    name = f"example_{uuid4().hex[:8]}"
    source = inbox / f"{name}.csv"
    source.write_text("id\n1\n2\n")
    for _ in range(2):
        assert load(params={"source": str(source), "dataset": name}, run_id="a-run") == 2
    assert store.dataset(name).count_rows() == 2
    assert [version.run for version in store.versions(name)] == ["a-run"]
