"""Read the structure of a compute expression.

pyarrow has no public access to it, but an expression can be pickled. Its pickled form is an Arrow IPC file. The
structure is the metadata of the schema, in which keys repeat, and the literals are the only row. pyarrow returns
metadata as a dictionary, so this module reads them from the message, a flatbuffer that Arrow specifies.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from millrace.compat.versions import PYARROW

_MAGIC_BYTES = 8
_HEADER, _SCHEMA_METADATA = 2, 2
"""Numbers of fields in the tables ``Message`` and ``Schema`` of Arrow's format."""

_u16 = struct.Struct("<H").unpack_from
_i32 = struct.Struct("<i").unpack_from


@dataclass(frozen=True, slots=True)
class Column:
    """A column by name, or a field of a struct column by the path of its names."""

    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant: an array of one value."""

    values: pa.Array


@dataclass(slots=True)
class Call:
    """A call of a compute function, by its name in Arrow; ``options`` is a struct scalar."""

    function: str
    arguments: list[Node] = field(default_factory=list)
    options: pa.StructScalar | None = None


Node = Column | Literal | Call


def read_expression(condition: pc.Expression) -> Node | None:
    """Return the structure of an expression.

    Returns None if it names a column by position, which pyarrow does not pickle, and outside the tested versions.
    """
    if not PYARROW.is_installed():
        return None
    try:
        _, (pickled, *_) = condition.__reduce__()
    except pa.ArrowNotImplementedError:
        return None
    with pa.ipc.open_file(pickled) as file:
        constants = file.get_batch(0)
    return _node(_metadata(pa.ipc.read_message(pickled.slice(_MAGIC_BYTES)).metadata), constants)


def walk(node: Node) -> Iterator[Node]:
    """Yield a node and everything below it, without recursion: a condition may join thousands of others."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, Call):
            waiting.extend(node.arguments)


def _node(entries: Iterator[tuple[str, str]], constants: pa.RecordBatch) -> Node | None:
    root = Call("")
    opened = [root]
    for key, value in entries:
        match key:
            case "call":
                opened.append(Call(value))
            case "field_ref":
                opened[-1].arguments.append(Column((value,)))
            case "nested_field_ref":
                opened[-1].arguments.append(Column(tuple(next(entries)[1] for _ in range(int(value)))))
            case "literal":
                opened[-1].arguments.append(Literal(constants.column(int(value))))
            case "options":
                opened[-1].options = constants.column(int(value))[0]
            case "end":
                call = opened.pop()
                opened[-1].arguments.append(call)
            case _:
                return None
    return root.arguments[0]


def _metadata(message: Any) -> Iterator[tuple[str, str]]:
    """Yield the keys and values of the schema in a message, in order."""
    data = memoryview(message)
    schema = _pointed(data, _member(data, _pointed(data, 0), _HEADER))
    entries = _pointed(data, _member(data, schema, _SCHEMA_METADATA))
    for number in range(_i32(data, entries)[0]):
        entry = _pointed(data, entries + 4 + 4 * number)
        yield _text(data, _member(data, entry, 0)), _text(data, _member(data, entry, 1))


def _pointed(data: memoryview, position: int) -> int:
    return position + int(_i32(data, position)[0])


def _member(data: memoryview, table: int, number: int) -> int:
    """Return the position of a field of a flatbuffer's table."""
    layout = table - int(_i32(data, table)[0])
    return table + int(_u16(data, layout + 4 + 2 * number)[0])


def _text(data: memoryview, position: int) -> str:
    start = _pointed(data, position)
    return bytes(data[start + 4 : start + 4 + _i32(data, start)[0]]).decode()
