"""The registry of source formats is the only list of them: each format is detected, planned, read and offered."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pyarrow as pa
import pytest

from millrace.airflow.source_fields import text_fields
from millrace.cli.commands.load import command
from millrace.errors import InvalidSettingError
from millrace.sources import Agreement, RowRules, SourceFile, SourceOptions, SourcePlan, open_source, plan_source
from millrace.sources.bytes.format import BYTES
from millrace.sources.format_options import ENDINGS, OPTIONS
from millrace.sources.formats import FORMATS
from millrace.sources.options import FORMAT_NAMES
from millrace.sources.source_format import Beginning, DetectedFormat
from millrace.sources.splits import Unit, plan_of_units


def test_each_format_has_options_that_exist_and_each_ending_denotes_a_format() -> None:
    assert set(OPTIONS) == set(FORMATS) == set(FORMAT_NAMES)
    assert set(ENDINGS.values()) == set(FORMATS) - {"json", "bytes"}
    names = {field.name for field in fields(SourceOptions)}
    for format_ in FORMATS.values():
        assert format_.deciding_options <= format_.options <= names


def test_the_load_form_and_the_command_line_offer_every_format() -> None:
    assert set(text_fields()["format"].schema["enum"]) == {"auto", *FORMATS}
    help_text = next(option for option in command.params if "--format" in option.opts).help
    assert all(name in help_text for name in FORMATS)


def test_an_unknown_format_is_refused_with_the_names_of_all() -> None:
    with pytest.raises(InvalidSettingError) as caught:
        SourceOptions(format="xml")
    assert all(name in caught.value.hint for name in FORMATS)


def test_a_format_is_added_by_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def plan_words(
        uri: str, files: tuple[SourceFile, ...], options: SourceOptions, _: RowRules, _agreement: Agreement | None
    ) -> SourcePlan:
        units = [Unit(number, 0, -1, file.size_bytes) for number, file in enumerate(files)]
        schema = pa.schema([("path", pa.string()), ("data", pa.binary())])
        return plan_of_units("words", uri, files, options, schema, units, "bytes")

    def detect_words(file: SourceFile, beginning: Beginning, options: SourceOptions) -> DetectedFormat | None:
        return DetectedFormat("words") if beginning.data.startswith(b"words:") else None

    words = replace(BYTES, name="words", label="words", plan=plan_words, detect=detect_words)
    monkeypatch.setitem(FORMATS, "words", words)
    monkeypatch.setitem(FORMAT_NAMES, "words", words)
    (tmp_path / "file").write_bytes(b"words: one two")
    for options in (SourceOptions(), SourceOptions(format="words")):
        plan = plan_source(str(tmp_path / "file"), options)
        with open_source(plan) as reader:
            rows = [row for batch in reader for row in batch.to_pylist()]
        assert (plan.format, rows) == ("words", [{"path": "file", "data": b"words: one two"}])
