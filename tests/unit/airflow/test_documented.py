"""docs/airflow.md lists every field of the form, and its example works."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from airflow.sdk.definitions._internal.types import is_arg_set

from local_stack.settings import CHECKOUT
from millrace.airflow.assets import dataset_asset
from millrace.airflow.form import load_form

PAGE = (CHECKOUT / "docs" / "airflow.md").read_text()


def test_the_documented_fields_are_those_of_the_form() -> None:
    rows = [
        f"| `{key}` | {field.schema['title']} | {json.dumps(field.value) if is_arg_set(field.value) else 'required'} |"
        for key, field in load_form().items()
    ]
    section = PAGE.partition("## The fields of the form\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `.*", section, re.MULTILINE) == rows, "\n".join(rows)


def test_the_documented_dag_is_scheduled_by_the_asset_of_a_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.dag_processing.dagbag import DagBag

    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "count_sales.py").write_text(code)
    bag = DagBag(str(tmp_path))
    assert bag.import_errors == {}
    (asset,) = bag.dags["count_sales"].timetable.asset_condition.objects
    assert asset == dataset_asset("sales", cluster="millrace", keyspace="millrace")
