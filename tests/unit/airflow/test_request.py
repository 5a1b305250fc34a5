"""The fields of a form become a source below the allowed folders, and load options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from millrace.airflow.form import load_form
from millrace.airflow.request import load_options
from millrace.errors import UsageError
from millrace.settings import load_settings
from millrace.sources import SourceOptions
from tests.unit.sources.allowed_folders import roots

__all__ = ["roots"]


def filled_in(**fields: Any) -> dict[str, Any]:
    defaults = {name: field.value for name, field in load_form().items() if field.has_value or name not in fields}
    return {**defaults, "dataset": "d", **fields}


def test_an_unchanged_form_gives_the_default_options(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, roots: tuple[str, ...]
) -> None:
    monkeypatch.setenv("MILLRACE_SOURCES__ROOTS", ",".join(roots))
    source, options = load_options(filled_in(source="a.csv"), load_settings())
    assert source == str(tmp_path / "inbox" / "a.csv")
    assert (options.mode, options.codec, options.codec_level, options.chunk_bytes) == (
        "replace",
        "gzip",
        None,
        5_000_000,
    )
    assert (options.source.format, options.source.delimiter, options.source.encoding) == (None, None, None)
    assert options.source.null_values is None
    assert options.source == SourceOptions()


def test_the_fields_of_the_form_become_load_options(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, roots: tuple[str, ...]
) -> None:
    monkeypatch.setenv("MILLRACE_SOURCES__ROOTS", ",".join(roots))
    (tmp_path / "inbox" / "schema.json").write_text("{}")
    form = filled_in(
        source="a.csv",
        mode="incremental",
        on_change="ignore",
        null_values=["NA", ""],
        column_types=["delay=int64", "a=b=string", " ", " seen =timestamp[us, tz=UTC]\r"],
        format="csv",
        delimiter="\\t",
        header=False,
        skip_rows=2,
        decimal=",",
        date_format=["%d.%m.%Y"],
        true_value=["ja", "", "wahr"],
        false_value=["nein"],
        records="data.items",
        columns=["a=b", "last, first", " "],
        rename=["delay=late", '"a=b"=ab', ""],
        schema_file="schema.json",
        codec="zstd",
        codec_level=9,
        chunk_bytes=65_536,
        split_bytes=2_000_000,
        max_splits=3,
    )
    _, options = load_options(form, load_settings())
    assert (options.mode, options.on_change) == ("incremental", "ignore")
    assert (options.codec, options.codec_level, options.chunk_bytes) == ("zstd", 9, 65_536)
    assert options.source.null_values == ("NA", "")
    assert options.source.column_types == (
        ("delay", "int64"),
        ("a=b", "string"),
        (" seen ", "timestamp[us, tz=UTC]"),
    )
    assert (options.source.format, options.source.delimiter, options.source.header) == ("csv", "\t", False)
    assert (options.source.skip_rows, options.source.decimal) == (2, ",")
    assert (options.source.true_value, options.source.false_value) == (("ja", "wahr"), ("nein",))
    assert options.source.date_format == ("%d.%m.%Y",)
    assert options.source.records == "data.items"
    assert options.source.columns == ("a=b", "last, first")
    assert options.source.rename == (("delay", "late"), ("a=b", "ab"))
    assert options.source.schema_file == str(tmp_path / "inbox" / "schema.json")
    assert (options.source.split_bytes, options.source.max_splits) == (2_000_000, 3)


def test_a_schema_file_outside_of_the_roots_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, roots: tuple[str, ...]
) -> None:
    monkeypatch.setenv("MILLRACE_SOURCES__ROOTS", ",".join(roots))
    form = filled_in(source="a.csv", schema_file=str(tmp_path / "private" / "secret.csv"))
    with pytest.raises(UsageError, match="outside of the folders"):
        load_options(form, load_settings())


def test_a_column_type_without_a_column_is_refused(monkeypatch: pytest.MonkeyPatch, roots: tuple[str, ...]) -> None:
    monkeypatch.setenv("MILLRACE_SOURCES__ROOTS", ",".join(roots))
    with pytest.raises(UsageError, match="'int64' is not COLUMN=TYPE"):
        load_options(filled_in(source="a.csv", column_types=["int64"]), load_settings())


def test_the_field_for_bad_rows_is_a_number_or_a_percentage(roots: tuple[str, ...]) -> None:
    settings = load_settings(sources={"roots": roots})
    params = {name: field.value for name, field in load_form().items()} | {"source": "a.csv", "dataset": "d"}
    for text, expected in (("0", "0"), ("100", "100"), (" 1% ", "1%")):
        _, options = load_options({**params, "max_bad_rows": text}, settings)
        assert str(options.bad_rows) == expected
    with pytest.raises(UsageError, match="101%"):
        load_options({**params, "max_bad_rows": "101%"}, settings)
