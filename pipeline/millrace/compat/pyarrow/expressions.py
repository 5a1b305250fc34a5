"""Read the structure of a compute expression.

pyarrow has no public access to it, but an expression can be pickled. Its pickled form is an Arrow IPC file. The
metadata of the schema describes the structure, and the only row holds the literals. Keys of the metadata repeat, and
pyarrow returns metadata as a dictionary without repetitions. So this module reads them from the message, a flatbuffer
that Arrow specifies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from millrace.compat.pyarrow.flatbuffers import Table
from millrace.compat.versions import PYARROW

_MAGIC_BYTES = 8
_HEADER, _SCHEMA_METADATA = 2, 2
"""Numbers of fields in the tables ``Message`` and ``Schema`` of Arrow's format."""


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
    message = Table.root(memoryview(pa.ipc.read_message(pickled.slice(_MAGIC_BYTES)).metadata))
    entries = message.table(_HEADER).tables(_SCHEMA_METADATA)
    return _node(((entry.text(0), entry.text(1)) for entry in entries), constants)


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
