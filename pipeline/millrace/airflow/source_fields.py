"""Fields of the load form for the format of a source and the selection of its columns."""

from __future__ import annotations

from typing import Any, Final

from airflow.sdk import Param

FORMATS: Final = ("auto", "csv", "parquet", "jsonl", "json", "arrow", "bytes")
ONE_ON_EACH_LINE: Final = "One on each line. "


def text_fields() -> dict[str, Param]:
    """Return the fields by key: the format, and the options for reading the text of a CSV."""
    section = "How the source is written"
    return {
        "format": Param(
            "auto",
            type="string",
            enum=list(FORMATS),
            section=section,
            title="Format",
            description="auto uses the file's name, then its content. json reads an array of objects from each file. "
            "bytes keeps any file as it is.",
        ),
        "delimiter": _text(
            None,
            section,
            "Delimiter",
            "One character between the fields of a CSV; \\t or tab for a tab. auto finds a comma, semicolon, tab or | "
            "by the first lines. Empty: a comma, and a tab for .tsv.",
        ),
        "encoding": _text(None, section, "Encoding", "Of the text of a CSV or JSON file. Empty: utf-8."),
        "header": Param(
            True,
            type="boolean",
            section=section,
            title="Header",
            description="The first line of a CSV names its columns.",
        ),
        "skip_rows": Param(
            0,
            type="integer",
            minimum=0,
            section=section,
            title="Lines to skip",
            description="Lines of each CSV file before its header.",
        ),
        "decimal": _text(".", section, "Decimal point", "Of the numbers in a CSV; a comma in many countries."),
        "date_format": _lines(
            section,
            "Date formats",
            "How dates and times of a CSV are written, as in %d.%m.%Y or %d.%m.%Y %H:%M. Empty: as in ISO 8601.",
        ),
        "records": _text(
            None,
            section,
            "Records",
            "For the format json: the keys of the array in the document, as in data.items; \\. is a dot in a key. "
            "Empty: the document is the array.",
        ),
        "true_value": _lines(section, "True values", "Texts of a CSV that mean true. Empty: 1, True, TRUE and true."),
        "false_value": _lines(
            section, "False values", "Texts of a CSV that mean false. Empty: 0, False, FALSE and false."
        ),
    }


def column_fields() -> dict[str, Param]:
    """Return the fields by key: types of columns, which columns are loaded, and their new names."""
    section = "Columns"
    return {
        "column_types": _lines(
            section,
            "Column types",
            "COLUMN=TYPE for columns of a CSV or JSON file whose type is not to be inferred, as in "
            "delay=int64 or seen=timestamp[us, tz=UTC].",
        ),
        "schema_file": Param(
            None,
            type=["null", "string"],
            section=section,
            title="Schema file",
            description="An Arrow, Parquet or JSON file, in the same folders as sources, that gives columns their "
            "types. Empty: types are inferred.",
        ),
        "columns": _lines(
            section,
            "Columns to load",
            "Names of the source's columns, in the order that the dataset is to have. Empty: all of them.",
        ),
        "rename": _lines(
            section,
            "New names",
            "OLD=NEW for columns that get another name, as in dep=departure. A name with = or with blanks "
            "at its ends must be in double quotes.",
        ),
    }


def _text(default: str | None, section: str, title: str, description: str) -> Param:
    type_ = "string" if default else ["null", "string"]
    return Param(default, type=type_, minLength=1, section=section, title=title, description=description)


def _lines(section: str, title: str, description: str) -> Param:
    options: dict[str, Any] = {"title": title, "description": ONE_ON_EACH_LINE + description}
    return Param(None, type=["null", "array"], items={"type": "string"}, section=section, **options)
