"""Every example of docs/training.md runs as it is written, in the order of the page.

Those of the section "From raw files to a model" run in ``tests/unit/training/test_raw_files_to_model.py``.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from local_stack.settings import CHECKOUT
from millrace.api import Store
from millrace.load import LoadOptions
from millrace.settings import Settings
from tests.prepared_version import publish_prepared, recipe_for, training_rows

BEFORE, _, REST = (CHECKOUT / "docs" / "training.md").read_text().partition("\n## From raw files to a model\n")
PAGE = BEFORE + "\n## " + REST.partition("\n## ")[2]
ROWS = 20_000


def blocks(language: str) -> list[str]:
    matches = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return [content for name, content in matches if name == language]


@pytest.fixture(scope="module")
def flights(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Load the datasets that the page names, with nulls in the delay as in the real flights."""
    rows = training_rows(ROWS)
    publish_prepared(store, "late_arrivals", rows, tmp_path_factory.mktemp("late"), recipe=recipe_for(rows))
    random = np.random.default_rng(7)
    delays = random.integers(-60, 120, ROWS)
    columns = {
        "carrier": pa.array(random.choice(["UA", "B6", "AA"], ROWS)),
        "distance": random.integers(80, 5000, ROWS),
        "arr_delay": pa.array(delays, mask=delays == 0),
    }
    names = ("flights", "flights_by_day", "flights_by_night")
    for name in names:
        store.load(name, pa.table(columns), LoadOptions(chunk_bytes=65_536))
    yield
    assert store.cache is not None
    store.cache.evict(names[0])


@pytest.mark.usefixtures("flights")
def test_each_python_example_of_the_page_runs(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MILLRACE_CASSANDRA__KEYSPACE", settings.cassandra.keyspace)
    examples = [code for code in blocks("python") if "torch" not in code]
    assert len(examples) == len(blocks("python")) - 1 >= 7
    names: dict[str, Any] = {}
    for code in examples:
        names["store"] = store  # the first example has closed its own
        exec(code, names)
        names["loader"].close()
    # The evaluation has read every row once.
    assert names["rows"] == ROWS
    delayed = store.dataset("flights").to_table(columns=["arr_delay"], filter="arr_delay > 15").num_rows
    assert capsys.readouterr().out == f"{delayed:,} of {ROWS:,} flights arrived more than 15 minutes late\n"


@pytest.mark.usefixtures("flights")
def test_each_command_of_the_page_runs(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_CASSANDRA__KEYSPACE", settings.cassandra.keyspace)
    commands = "".join(blocks("")).splitlines()
    assert [line.split()[:2] for line in commands] == [["millrace", "plan"], ["millrace", "warm"]]
    for line in commands:
        arguments = shlex.split(line)[1:]
        done = subprocess.run(
            [sys.executable, "-m", "millrace", *arguments], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{line}: {done.stderr}"
