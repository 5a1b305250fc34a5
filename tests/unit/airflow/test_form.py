"""Every field of the form is described and checks its range, and the main fields come first."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import ParamValidationError

from millrace.airflow.form import FormRequest, load_form

REQUIRED = {"dataset", "source"}


def test_every_field_has_a_title_a_description_and_a_default_that_it_accepts() -> None:
    for name, field in load_form().items():
        assert field.schema["title"], name
        assert len(field.description or "") > 10, name
        if name in REQUIRED:
            assert field.value.__class__.__name__ == "ArgNotSet", name
        else:
            field.resolve()


def test_the_main_fields_come_first_and_have_no_section() -> None:
    sections = [field.schema.get("section") for field in load_form().values()]
    main = ["dataset", "source", "connection", "mode", "on_change", "null_values", "warm"]
    assert list(load_form())[:7] == main
    assert sections[:7] == [None] * 7
    assert None not in sections[7:]


def test_the_form_names_the_allowed_source_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    home = os.environ["MILLRACE_HOME"]
    assert f"{home}/inbox or {home}/demo" in (load_form()["source"].description or "")
    monkeypatch.setenv("MILLRACE_SOURCES__ROOTS", "/data/landing")
    assert "/data/landing" in (load_form()["source"].description or "")


def test_the_form_proposes_the_files_in_these_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MILLRACE_SOURCES__ROOTS", str(tmp_path))
    assert load_form()["source"].schema["examples"] == []
    (tmp_path / "sales 2026.csv").touch()
    assert load_form()["source"].schema["examples"] == ["sales 2026.csv"]
    load_form()["source"].resolve("another.csv")


def test_the_form_is_built_despite_an_invalid_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_CASSANDRA__PORT", "none")
    assert "dataset" in load_form()


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("dataset", ["a", "flights_2013", "Not A Name", "a" * 49], ["", None]),
        ("source", ["a.csv"], ["", None]),
        ("mode", ["replace", "append", "incremental"], ["merge", ""]),
        ("on_change", ["refuse", "append", "ignore"], ["replace", ""]),
        ("null_values", [None, [], ["NA", ""]], ["NA", [1]]),
        ("warm", [True, False], ["yes", 1]),
        ("format", ["auto", "csv", "parquet", "jsonl", "arrow", "bytes"], ["xlsx", None]),
        ("codec", ["gzip", "zstd", "none"], ["lz4", None]),
        ("chunk_bytes", [65_536, 5_000_000], [65_535, 5_000_001, "x", None]),
        ("codec_level", [None, 0, 22], [-1, 23]),
        ("split_bytes", [1_000_000], [999_999]),
        ("max_splits", [1, 1000], [0, 1001]),
        ("warm_form", ["auto", "stored", "raw"], ["gzip", None]),
        ("warm_columns", [None, [], ["a", "b"]], ["a", [1]]),
        ("delimiter", [None, ",", "tab"], ["", 7]),
        ("encoding", [None, "latin-1"], [""]),
        ("column_types", [None, ["a=int64"]], ["a=int64"]),
    ],
)
def test_values_out_of_range_are_refused_before_the_run_begins(name: str, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        load_form()[name].resolve(value)
    for value in bad:
        with pytest.raises(ParamValidationError):
            load_form()[name].resolve(value)


@pytest.mark.parametrize(
    ("form", "columns", "options"),
    [
        ("auto", None, {"form": None, "columns": None}),
        ("raw", ["a", "b"], {"form": "raw", "columns": ["a", "b"]}),
        ("stored", [], {"form": "stored", "columns": None}),
    ],
)
def test_the_fields_of_the_cache_are_the_options_of_warming(
    form: str, columns: list[str] | None, options: dict[str, Any]
) -> None:
    assert FormRequest({"warm_form": form, "warm_columns": columns}).warm_options == options
