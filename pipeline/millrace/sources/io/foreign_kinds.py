"""Unsupported files with tables: recognized by their first bytes, refused with a command that converts them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from millrace.errors import SourceFormatError
from millrace.sources.format_options import name_inside
from millrace.sources.io.stdin import STANDARD_INPUT
from millrace.sources.model import SourceFile


@dataclass(frozen=True)
class _Kind:
    """One kind of file, with the program that converts it.

    ``program`` is Python code that reads the file of its first argument and writes the file of its second, if any.
    ``ending`` is the suffix of the second file. It is empty if the program names its files by the tables within.
    ``needs`` lists the packages that it uses besides pyarrow.
    """

    name: str
    program: str
    ending: str = ".parquet"
    needs: str = ""
    caution: str = ""


def _pandas(name: str, read: str, needs: str = "pandas", caution: str = "") -> _Kind:
    program = f"import pandas, sys; {read}.to_parquet(sys.argv[2])"
    return _Kind(name, program, needs=needs, caution=caution)


def _sheet(name: str, engine: str) -> _Kind:
    # ``dtype=object``, because a column of whole numbers with a missing value would become doubles.
    program = "import pandas, sys; pandas.read_excel(sys.argv[1], dtype=object).to_csv(sys.argv[2], index=False)"
    return _Kind(name, program, ".csv", f"pandas {engine}")


_PICKLE = _pandas(
    "a pickle",
    "pandas.DataFrame(pandas.read_pickle(sys.argv[1])).rename(columns=str)",
    caution="a pickle runs the code in it, so only where you trust it: ",
)

_MAGIC = (
    (
        0,
        b"SQLite format 3\0",
        _Kind(
            "an SQLite database",
            "import json, sqlite3, sys; base = sqlite3.connect(sys.argv[1]); base.row_factory = sqlite3.Row; "
            '[open(name + ".jsonl", "w").writelines(json.dumps(dict(row), default=bytes.hex) + "\\n" '
            'for row in base.execute("select * from [" + name + "]")) for (name,) in '
            'base.execute("select name from sqlite_master where type = ?", ["table"]).fetchall()]',
            "",
        ),
    ),
    (
        8,
        b"DUCK",
        _Kind(
            "a DuckDB database",
            "import duckdb, sys; base = duckdb.connect(sys.argv[1], read_only=True); "
            '[base.table(name).write_parquet(name + ".parquet") for (name,) in '
            'base.execute("select table_name from duckdb_tables()").fetchall()]',
            "",
            "duckdb",
        ),
    ),
    (
        0,
        b"ORC",
        _Kind(
            "ORC data",
            "import sys; from pyarrow import orc, parquet; "
            "parquet.write_table(orc.read_table(sys.argv[1]), sys.argv[2])",
        ),
    ),
    (
        0,
        b"FEA1",
        _Kind(
            "Feather data of version 1",
            "import sys; from pyarrow import feather; "
            "feather.write_feather(feather.read_table(sys.argv[1]), sys.argv[2])",
            ".arrow",
        ),
    ),
    (
        0,
        b"Obj\x01",
        _Kind(
            "Avro data",
            "import polars, sys; polars.read_avro(sys.argv[1]).write_parquet(sys.argv[2])",
            needs="polars",
        ),
    ),
    (
        0,
        b"\x93NUMPY",
        _pandas(
            "a NumPy array (npy)",
            "import numpy; pandas.DataFrame(numpy.load(sys.argv[1])).rename(columns=str)",
            "pandas numpy",
        ),
    ),
    (0, b"\x80\x04\x95", _PICKLE),
    (0, b"\x80\x05\x95", _PICKLE),
    (0, b"\x89HDF\r\n\x1a\n", _pandas("HDF5 data", "pandas.read_hdf(sys.argv[1])", "pandas tables")),
    (0, b"<stata_dta>", _pandas("Stata data", "pandas.read_stata(sys.argv[1])")),
    (0, b"$FL2@(#)", _pandas("SPSS data", "pandas.read_spss(sys.argv[1])", "pandas pyreadstat")),
    (
        0,
        b"\0" * 12 + b"\xc2\xea\x81\x60\xb3\x14\x11\xcf\xbd\x92\x08\x00\x09\xc7\x31\x8c",
        _pandas("SAS data", "pandas.read_sas(sys.argv[1])"),
    ),
)
"""Offset, bytes there, kind. All these kinds are binary, so a text that begins with such letters is none of them."""
_COMPOUND = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OLD_PICKLES = (b"\x80\x02", b"\x80\x03")
_BINARY = re.compile(rb"[\x00-\x08]")


def foreign_refusal(file: SourceFile, begin: bytes) -> SourceFormatError | None:
    """Return the error for a file that begins like one of these kinds, or None."""
    if not _BINARY.search(begin):
        return None
    name = name_inside(file.name).lower()
    for offset, magic, kind in _MAGIC:
        if begin[offset : offset + len(magic)] == magic:
            return _refusal(file, kind)
    # Many programs write such containers, and two bytes could begin any file, so the name is checked too.
    if begin.startswith(_COMPOUND) and name.endswith(".xls"):
        return _refusal(file, _sheet("an Excel workbook (xls)", "xlrd"))
    if begin.startswith(_OLD_PICKLES) and name.endswith((".pkl", ".pickle", ".p")):
        return _refusal(file, _PICKLE)
    return None


def zip_refusal(file: SourceFile, members: Iterable[str]) -> SourceFormatError | None:
    """Return the error for a zip whose members are those of one of these kinds, or None."""
    names = set(members)
    if "[Content_Types].xml" in names and any(name.startswith("xl/") for name in names):
        return _refusal(file, _sheet("an Excel workbook (xlsx)", "openpyxl"))
    if {"mimetype", "content.xml"} <= names and file.name.lower().endswith(".ods"):
        return _refusal(file, _sheet("an OpenDocument spreadsheet (ods)", "odfpy"))
    if names and all(name.endswith(".npy") for name in names):
        read = "import numpy; pandas.DataFrame(dict(numpy.load(sys.argv[1])))"
        return _refusal(file, _pandas("NumPy arrays (npz)", read, "pandas numpy"))
    return None


def _refusal(file: SourceFile, kind: _Kind) -> SourceFormatError:
    is_input = file.uri == STANDARD_INPUT
    path = "FILE" if is_input else file.uri
    inside = name_inside(path).rpartition("/")[2]
    arguments = [path, (inside.rpartition(".")[0] or inside) + kind.ending] if kind.ending else [path]
    command = " ".join(shlex.quote(argument) for argument in ("python3", "-c", kind.program, *arguments))
    needs = f", with {' and '.join(kind.needs.split())} installed" if kind.needs else ""
    return SourceFormatError(
        f"{'standard input' if is_input else file.name} is {kind.name}, which is not supported",
        hint=f"{kind.caution}convert it ({command}{needs}), or store it as it is with --format bytes",
        file=file.name,
    )
