"""``millrace plan`` for versions with text and nulls: refused as NumPy with the ways out, planned as Arrow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pytest

from millrace.api import Store
from millrace.cli import main
from tests.unit.store.in_memory import cassandra, settings, store

__all__ = ["cassandra", "settings", "store"]

OPTIONS = ("--batch", "16", "--lanes", "2")


@pytest.fixture(autouse=True)
def flights(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Load rows with a text column and with nulls, and let commands use this store."""
    carriers = ["UA", "B6", "AA", "DL"] * 100
    store.load("flights", pa.table({"n": range(400), "carrier": carriers, "seats": [7, None, 8, 9] * 100}))

    @contextmanager
    def connect(_settings: Any) -> Iterator[Store]:
        yield store

    monkeypatch.setattr(Store, "connect", connect)


def test_text_is_refused_as_numpy_and_both_ways_out_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "flights", *OPTIONS]) == 2
    refusal = capsys.readouterr().err
    assert "cannot hold column 'carrier' of type string" in refusal
    assert "--columns" in refusal
    assert "--format arrow" in refusal


def test_nulls_are_refused_as_numpy_and_a_way_out_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "flights", *OPTIONS, "--columns", "n,seats"]) == 2
    assert "--format arrow" in capsys.readouterr().err


@pytest.mark.parametrize("way_out", [("--format", "arrow"), ("--columns", "n")])
def test_each_way_out_plans_the_epoch(capsys: pytest.CaptureFixture[str], way_out: tuple[str, str]) -> None:
    assert main(["plan", "flights", *OPTIONS, *way_out, "--json"]) == 0
    cost = json.loads(capsys.readouterr().out)
    assert cost["batches"] == 25
    assert cost["first_batch_s"] > 0


def test_a_format_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "flights", *OPTIONS, "--format", "pandas"]) == 2
    assert "'numpy', 'torch', 'arrow'" in capsys.readouterr().err
