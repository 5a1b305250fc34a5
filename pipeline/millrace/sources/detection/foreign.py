"""Errors for JSON that is not one object on each line; they name the kind and a command that converts it."""

from __future__ import annotations

import shlex

from millrace.errors import SourceFormatError
from millrace.sources.detection.looks import JSON_ARRAYS, JSON_OBJECTS, JSON_VALUES
from millrace.sources.io.compression import name_inside
from millrace.sources.io.stdin import STANDARD_INPUT
from millrace.sources.model import SourceFile

__all__ = ["json_refusal", "spread_refusal"]

_QUERIES = {JSON_OBJECTS: ".[]", JSON_VALUES: ".[] | {value: .}", JSON_ARRAYS: "{value: .}"}
"""The jq filters that produce one object on each line."""
_UNPACK = {
    ".gz": "gzip -dc",
    ".gzip": "gzip -dc <",
    ".zst": "zstd -dc",
    ".zstd": "zstd -dc <",
    ".bz2": "bzip2 -dc",
    ".zip": "unzip -p",
}
_AS_BYTES = "or store it as it is with --format bytes"


def json_refusal(file: SourceFile, array: str, line: int | None = None) -> SourceFormatError:
    """Return the error for JSON of a kind that ``looks.json_array`` recognizes, instead of one object on each line."""
    said = "holds JSON arrays" if array == JSON_ARRAYS else "is a JSON array"
    return SourceFormatError(
        f"{_named(file)} {said} and not one object on each line",
        hint=f"make JSON lines of it ({_lines_command(file, _QUERIES[array])}), {_AS_BYTES}",
        file=file.name,
        line=line,
    )


def spread_refusal(file: SourceFile, line: int) -> SourceFormatError:
    """Return the error for a JSON object that continues on the next line."""
    return SourceFormatError(
        f"{file.name}, line {line}: the object does not end in this line",
        hint=f"write each object on one line ({_lines_command(file, '.')})",
        file=file.name,
        line=line,
    )


def _named(file: SourceFile) -> str:
    return "standard input" if file.uri == STANDARD_INPUT else file.name


def _lines_command(file: SourceFile, query: str) -> str:
    if file.uri == STANDARD_INPUT:
        return f"... | jq -c '{query}' | millrace load NAME -"
    inside = name_inside(file.name).rpartition("/")[2]
    stem = inside.rpartition(".")[0] or inside
    # The output needs another name: in the file's own folder the shell would truncate the file before jq reads it.
    lines = shlex.quote(f"{stem}_lines.jsonl" if inside.endswith(".jsonl") else f"{stem}.jsonl")
    path = shlex.quote(file.uri)
    unpack = next((command for ending, command in _UNPACK.items() if file.name.lower().endswith(ending)), None)
    if unpack is None:
        return f"jq -c '{query}' {path} > {lines}"
    return f"{unpack} {path} | jq -c '{query}' > {lines}"
