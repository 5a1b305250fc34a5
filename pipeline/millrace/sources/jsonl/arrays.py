"""JSON that is not one object on each line: its detection, and errors with a command that converts it."""

from __future__ import annotations

import json
import re
import shlex
from enum import Enum

from millrace.errors import SourceFormatError
from millrace.sources.format_options import name_inside
from millrace.sources.io.stdin import STANDARD_INPUT
from millrace.sources.model import SourceFile

_OBJECTS = re.compile(r'\[\s*\{\s*(?:["}]|$)')
_DECODER = json.JSONDecoder()


class JsonArray(Enum):
    """A kind of JSON arrays; its value is the jq filter that produces one object on each line."""

    OF_OBJECTS = ".[]"
    OF_VALUES = ".[] | {value: .}"
    LINES = "{value: .}"


_UNPACK = {
    ".gz": "gzip -dc",
    ".gzip": "gzip -dc <",
    ".zst": "zstd -dc",
    ".zstd": "zstd -dc <",
    ".bz2": "bzip2 -dc",
    ".zip": "unzip -p",
}
_AS_DOCUMENT = "give --format json, "
_AS_BYTES = "or store it as it is with --format bytes"


def json_array(text: str, *, complete: bool) -> JsonArray | None:
    """Return the kind of arrays of a text that begins with ``[``, or None where it is not JSON.

    A text that is not ``complete`` is the beginning of a longer one.
    """
    if _OBJECTS.match(text):
        return JsonArray.OF_OBJECTS
    try:
        _, end = _DECODER.raw_decode(text)
        rest = text[end:].lstrip()
        if rest:
            return JsonArray.LINES if rest.startswith("[") else None
        return JsonArray.OF_VALUES
    except (ValueError, RecursionError):
        if complete:
            return None
    inner = text[1:].lstrip()
    try:
        _, end = _DECODER.raw_decode(inner)
    except (ValueError, RecursionError):
        return None
    return JsonArray.OF_VALUES if inner[end:].lstrip().startswith(",") else None


def json_refusal(file: SourceFile, array: JsonArray, line: int | None = None) -> SourceFormatError:
    """Return the error for JSON arrays instead of one object on each line."""
    name = "standard input" if file.uri == STANDARD_INPUT else file.name
    kind = "holds JSON arrays" if array is JsonArray.LINES else "is a JSON array"
    return SourceFormatError(
        f"{name} {kind} and not one object on each line",
        hint=f"{_AS_DOCUMENT if array is JsonArray.OF_OBJECTS else ''}make JSON lines of it "
        f"({lines_command(file, array.value)}), {_AS_BYTES}",
        file=file.name,
        line=line,
    )


def spread_refusal(file: SourceFile, line: int) -> SourceFormatError:
    """Return the error for a JSON object that continues on the next line."""
    return SourceFormatError(
        f"{file.name}, line {line}: the object does not end in this line",
        hint=f"write each object on one line ({lines_command(file, '.')}); an array inside of one document is "
        "loaded by --format json --records KEY",
        file=file.name,
        line=line,
    )


def lines_command(file: SourceFile, query: str) -> str:
    """Return the shell command that makes JSON lines of a file by a filter of jq."""
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
