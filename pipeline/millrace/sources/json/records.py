"""The path to the array of records in a JSON document."""

from __future__ import annotations

import json

from millrace.display import shortened
from millrace.errors import SourceFormatError
from millrace.names import nearest
from millrace.sources.json.document import Document, Member
from millrace.sources.options import record_keys

_KEYS_SHOWN = 10


def jq_query(records: str | None) -> str:
    """Return the filter of jq that makes JSON lines of the array at ``records``."""
    path = "".join(f".{json.dumps(key, ensure_ascii=False)}" for key in record_keys(records))
    return f"{path or '.'}[]"


def records_range(document: Document, records: str | None) -> tuple[int, int]:
    """Return the offsets of the text between the brackets of the array at ``records``.

    Raises ``SourceFormatError`` for a path that leads to no array, and for text after the document.
    """
    start = document.after_space(0)
    if start == len(document.data):
        raise document.error(start, "the file has no JSON document", "leave it out, or copy it again")
    stop = document.end_of(start)
    _refuse_rest(document, stop)
    path = ""
    for key in record_keys(records):
        _, start, stop = _member(document, start, key, path)
        path = f"{path}.{key}" if path else key
    if document.kind_at(start) != "an array":
        raise _not_array(document, start, path)
    return start + 1, stop - 1


def _refuse_rest(document: Document, end: int) -> None:
    if (rest := document.after_space(end)) < len(document.data):
        raise document.error(
            rest,
            "text follows the end of the document",
            "put each document into a file of its own, or give --format jsonl for one object on each line",
        )


def _member(document: Document, start: int, key: str, path: str) -> Member:
    """Return the member ``key`` of the object at ``start``, which the document has at ``path``."""
    parent = path or "the document"
    if (kind := document.kind_at(start)) != "an object":
        raise document.error(start, f"{parent} is {kind} and has no key {key!r}", "give another path: --records")
    members = list(document.members(start))
    matches = [member for member in members if member.key == key]
    if len(matches) > 1:
        raise document.error(matches[1].start, f"{parent} has the key {key!r} twice", "give it once")
    if not matches:
        near = nearest(key, [member.key for member in members], at_most=1)
        hint = f"did you mean {near[0]}?" if near else _keys_hint(members)
        raise document.error(start, f"{parent} has no key {key!r}", hint)
    return matches[0]


def _not_array(document: Document, start: int, path: str) -> SourceFormatError:
    kind = document.kind_at(start)
    hint = _keys_hint(list(document.members(start))) if kind == "an object" else ""
    return document.error(start, f"{path or 'the document'} is {kind} and not an array", hint)


def _keys_hint(members: list[Member]) -> str:
    names = ", ".join(shortened(member.key) for member in members[:_KEYS_SHOWN])
    return f"name the array by its keys: --records KEY.KEY; the keys here: {names or 'none'}"
