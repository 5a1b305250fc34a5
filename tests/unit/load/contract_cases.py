"""The table of docs/sources.md: what happens to each change of a source under each word of a contract.

Each case is loaded through the real code. ``python -m tests.unit.load.contract_cases`` writes the table into the page.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from millrace.api import Store
from millrace.errors import SourceError
from millrace.load import LoadOptions
from millrace.settings import load_settings
from millrace.sources import BadRowBudget, Contract, Reaction, RejectKind, SourceOptions, open_source
from tests.unit.store.fakes import FakeCassandra

PAGE: Final = Path(__file__).parents[3] / "docs" / "sources.md"
BEGIN: Final = "<!-- begin of the table that python -m tests.unit.load.contract_cases writes -->\n"
END: Final = "<!-- end of the table -->\n"
WORDS: Final = tuple(Reaction)


@dataclass(frozen=True)
class Case:
    """A change from the rows of ``old`` to those of ``new``, in a file of a format.

    ``is_column`` is true if ``columns`` of the contract decides, else ``types``.
    """

    change: str
    format: str
    old: pa.Table
    new: pa.Table
    is_column: bool = False
    options: SourceOptions = field(default_factory=SourceOptions)


def _one(values: Sequence[Any], kind: pa.DataType | None = None, *, nullable: bool = True) -> pa.Table:
    """Return a table of the column ``a`` beside a column of row numbers."""
    schema = pa.schema([pa.field("id", pa.int64()), pa.field("a", kind or pa.array(values).type, nullable)])
    return pa.table([pa.array(range(len(values)), pa.int64()), pa.array(values, kind)], schema=schema)


def _types(change: str, old: pa.Table, new: pa.Table, format: str = "Parquet", **options: Any) -> Case:
    return Case(change, format, old, new, options=SourceOptions(**options))


TWO: Final = pa.table({"a": [1, 2], "b": ["x", "y"]})
NULLS: Final = pa.nulls(2)
FORMATS: Final = ("CSV", "JSON lines", "Parquet")
COLUMN_CASES: Final = (
    *(Case("a new column", f, TWO, TWO.append_column("c", pa.array([None, 0.5])), is_column=True) for f in FORMATS),
    Case("a new column without a value", "Parquet", TWO, TWO.append_column("c", NULLS), is_column=True),
    *(Case("a missing column", f, TWO, TWO.select(["a"]), is_column=True) for f in FORMATS),
    Case("another order of columns", "CSV", TWO, TWO.select(["b", "a"]), is_column=True),
    Case("a new name of a column", "CSV", TWO, TWO.rename_columns(["a", "c"]), is_column=True),
)
_BIG: Final = 2**53 + 1
_MOMENT: Final = datetime(2026, 11, 29, 12, 30)
_NOON_MS: Final = datetime(2026, 11, 29, 12, 30, 0, 500_000)
_S, _MS = pa.timestamp("s"), pa.timestamp("ms")
_UTC, _BERLIN = pa.timestamp("us", "UTC"), pa.timestamp("us", "Europe/Berlin")
_WORDS: Final = pa.dictionary(pa.int32(), pa.string())
TYPE_CASES: Final = (
    _types("`int32` to `int64`, values fit", _one([1], pa.int32()), _one([2, 3], pa.int64())),
    _types("`int32` to `int64`, a value does not fit", _one([1], pa.int32()), _one([2, 2**40], pa.int64())),
    _types("`int64` to `int32`", _one([1], pa.int64()), _one([2, 3], pa.int32())),
    _types("`int64` to `uint64`, a value does not fit", _one([1]), _one([2, 2**63], pa.uint64())),
    _types("`int64` to `double`, whole numbers", _one([1]), _one([2.0, 3.0])),
    _types("`int64` to `double`, a fraction", _one([1]), _one([2.0, 0.5])),
    _types("`int64` to `double`, a stored value is not exact", _one([_BIG]), _one([2.0, 0.5])),
    _types("`double` to `int64`, exact", _one([0.5]), _one([2, 3])),
    _types("`double` to `int64`, a value is not exact", _one([0.5]), _one([2, _BIG])),
    _types("`float` to `double`", _one([0.5], pa.float32()), _one([0.5, 0.1])),
    _types("`null` to another type", _one([None]), _one([2, None])),
    _types("another type to `null`", _one([1]), _one([None, None])),
    _types("not null to null", _one([1], nullable=False), _one([2, None])),
    _types("not null, and the column is missing", _one([1], nullable=False), _one([2, 3]).select(["id"])),
    _types("`string` to `large_string`", _one(["x"]), _one(["y", "z"], pa.large_string())),
    _types("`large_string` to `string`", _one(["x"], pa.large_string()), _one(["y", "z"])),
    _types("dictionary to `string`", _one(["x"], _WORDS), _one(["y", "z"])),
    _types("`string` to dictionary", _one(["x"]), _one(["y", "z"], _WORDS)),
    _types("`int64` to `string`", _one([1]), _one(["2", "x"])),
    _types("`string` to `int64`", _one(["x"]), _one([2, 3])),
    _types("`bool` to `int64`", _one([True]), _one([1, 2])),
    _types(
        "wider decimal", _one([Decimal("1.5")], pa.decimal128(5, 2)), _one([Decimal("9999.5")], pa.decimal128(9, 2))
    ),
    _types(
        "narrower decimal", _one([Decimal("1.5")], pa.decimal128(9, 2)), _one([Decimal("2.5")], pa.decimal128(5, 2))
    ),
    _types("`timestamp[s]` to `[ms]`, whole seconds", _one([_MOMENT], _S), _one([_MOMENT, None], _MS), "Arrow"),
    _types("`timestamp[s]` to `[ms]`, a fraction", _one([_MOMENT], _S), _one([_MOMENT, _NOON_MS], _MS), "Arrow"),
    _types("`timestamp[ms]` to `[s]`", _one([_MOMENT], _MS), _one([_MOMENT, None], _S), "Arrow"),
    _types("a timestamp of another zone", _one([_MOMENT], _UTC), _one([_MOMENT, None], _BERLIN), "Arrow"),
    _types(
        "a timestamp without a zone to one with a zone",
        _one([_MOMENT], pa.timestamp("us")),
        _one([_MOMENT], _UTC),
        "Arrow",
    ),
    _types("`timestamp[s]` to `date32`", _one([_MOMENT], _S), _one([date(2026, 11, 29), None]), "Arrow"),
    _types(
        "`date32` to `timestamp[s]`", _one([date(2026, 11, 29)]), _one([datetime(2026, 11, 29), _MOMENT], _S), "Arrow"
    ),
    _types("`list<int32>` to `list<int64>`", _one([[1]], pa.list_(pa.int32())), _one([[2], [2**40]])),
    _types("a new field of a struct", _one([{"x": 1}]), _one([{"x": 2, "y": 3}])),
    _types("another type of a struct's field", _one([{"x": 1}]), _one([{"x": 2.0}, {"x": 0.5}])),
    *(_types("text in a column of numbers", _one([1]), _one(["2", "x"]), f) for f in FORMATS[:2]),
    *(_types("numbers in a column of text", _one(["x"]), _one([2, 3]), f) for f in FORMATS[:2]),
    *(_types("a fraction in a column of integers", _one([1]), _one([2.0, 0.5]), f) for f in FORMATS[:2]),
    _types("a number of 20 digits in a column of integers", _one([1]), _one(["2", "12345678901234567890"]), "CSV"),
    _types("an integer in a column of doubles, not exact", _one([0.5]), _one([2, _BIG]), "CSV"),
    *(_types("values in an empty column", _one([None]), _one([2, None]), f) for f in FORMATS[:2]),
    _types("text in a column of dates", _one(["2026-11-29"]), _one(["2026-11-30", "x"]), "CSV"),
    _types("a new field of a struct", _one([{"x": 1}]), _one([{"x": 2, "y": 3}]), "JSON lines"),
    _types("the option `column_types` names a wider type", _one([1]), _one([2]), "CSV", column_types={"a": "double"}),
    _types("the option `column_types` names a narrower type", _one([1]), _one([2]), "CSV", column_types={"a": "int32"}),
)


def written(table: pa.Table, format: str, path: Path) -> str:
    """Write the table as a file of a format, without quotes in a CSV, and return its path."""
    if format == "Arrow":
        with pa.ipc.new_file(str(path), table.schema) as file:
            file.write_table(table)
    elif format == "Parquet":
        pq.write_table(table, path)
    elif format == "CSV":
        pacsv.write_csv(table, path, pacsv.WriteOptions(quoting_style="none"))
    else:
        path.write_text("".join(json.dumps(row, default=str) + "\n" for row in table.to_pylist()))
    return str(path)


def outcomes(store: Store, case: Case, folder: Path) -> list[str]:
    """Load the old rows, and return what happens to the new ones under each word."""
    name, cells = "", []
    for word in WORDS:
        if not name or store.dataset(name).version.number > 1:
            name = f"c{len(store.datasets())}"
            store.load(name, written(case.old, case.format, folder / f"{name}-old"), LoadOptions(mode="append"))
            new = written(case.new, case.format, folder / f"{name}-new")
        cells.append(outcome(store, case, word, name, new))
    return cells


def outcome(store: Store, case: Case, word: Reaction, name: str, new: str) -> str:
    """Load the new rows under one word if none is set aside, and return what happens to them, in a few words."""
    contract = Contract(columns=word) if case.is_column else Contract(types=word)
    old = store.dataset(name)
    options = LoadOptions(mode="append", contract=contract, bad_rows=BadRowBudget(rows=1000), source=case.options)
    try:
        plan = store.plan(name, new, options)
        with open_source(plan.source) as reader:
            list(reader)
        counts = reader.rejects.counts
        if not counts:
            store.load(name, new, options, run=f"run {word}")
    except SourceError:
        return "refused"
    if counts[RejectKind.BAD]:
        return "bad row"
    if counts[RejectKind.DISCARDED_ROW]:
        return "row dropped"
    if counts[RejectKind.DISCARDED_VALUE]:
        return "left out" if case.is_column else "null"
    return _change(old.schema, store.dataset(name).schema, case)


def _change(old: pa.Schema, new: pa.Schema, case: Case) -> str:
    added = [column.name for column in new if column.name not in old.names]
    missing = [name for name in old.names if name not in case.new.column_names]
    left_out = [name for name in case.new.column_names if name not in new.names]
    changes = ["added"] * bool(added) + ["left out"] * bool(left_out) + ["null"] * bool(missing)
    for name in set(old.names) & {"a"}:
        before, after = old.field(name), new.field(name)
        changes += [f"`{after.type}`"] * (before.type != after.type)
        changes += ["may be null"] * (after.nullable and not before.nullable)
    return ", ".join(changes) or "loaded"


def row(case: Case, cells: Sequence[str]) -> str:
    """Return the line of the table for a case."""
    return f"| {case.change} | {case.format} | {' | '.join(cells)} |"


def table(store: Store, folder: Path) -> str:
    """Return the table of all cases as Markdown."""
    lines = []
    for title, cases in (("change of columns", COLUMN_CASES), ("change of types", TYPE_CASES)):
        lines += [f"| {title} | format | {' | '.join(f'`{word}`' for word in WORDS)} |", "|---" * 6 + "|"]
        for case in cases:
            lines.append(row(case, outcomes(store, case, folder)))
        lines.append("")
    return "\n".join(lines)


def with_table(page: str, text: str) -> str:
    """Return the page with this table in place of its own."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}"


def main() -> None:
    """Write the table into docs/sources.md."""
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(redis={"url": ""}, cassandra={"keyspace": "ks"})
        with Store(FakeCassandra(), settings) as store:
            text = table(store, Path(folder))
    if "--print" in sys.argv:
        print(text)
    else:
        PAGE.write_text(with_table(PAGE.read_text(), text))


if __name__ == "__main__":
    main()
