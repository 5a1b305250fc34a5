"""The names that users import from ``millrace`` itself, and the cost of that import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import millrace
from local_stack.settings import PYTHON_PATH
from millrace import api, dataset, errors, load, settings, store

# Modules that take long to import, or belong to services that a user may not have.
HEAVY = ["airflow", "flask", "pandas", "pyarrow", "numpy", "pydantic", "cassandra", "redis", "confluent_kafka"]
IMPORT = """
import json, sys, time
began = time.perf_counter()
import millrace
seconds = time.perf_counter() - began
print(json.dumps([seconds, sorted(sys.modules), millrace.__file__]))
"""


def test_every_public_name_can_be_imported() -> None:
    for name in millrace.__all__:
        assert getattr(millrace, name) is not None
    assert set(millrace.__all__) <= set(dir(millrace))


def test_the_classes_are_those_of_their_rooms() -> None:
    assert millrace.Store is api.Store
    assert millrace.Dataset is api.Dataset
    assert issubclass(api.Dataset, dataset.Dataset)
    assert millrace.Version is store.Version
    assert millrace.LoadReport is load.LoadReport
    assert millrace.Settings is settings.Settings


def test_every_error_is_public() -> None:
    assert set(errors.__all__) <= set(millrace.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'millrace' has no attribute 'Datset'"):
        _ = millrace.Datset  # type: ignore[attr-defined]


def test_the_import_is_fast_and_loads_no_service_also_beside_a_file_named_pipeline(tmp_path: Path) -> None:
    (tmp_path / "pipeline.py").write_text("raise RuntimeError('the pipeline of another project')\n")
    (tmp_path / "script.py").write_text(IMPORT)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": PYTHON_PATH}
    imports = []
    for _ in range(3):  # the fastest: other tests use the same cores
        done = subprocess.run(
            [sys.executable, "script.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        imports.append(json.loads(done.stdout))
    _, modules, file = imports[0]
    assert file == millrace.__file__
    assert not {*HEAVY, "pipeline"} & set(modules)
    assert min(seconds for seconds, *_ in imports) < 0.3
