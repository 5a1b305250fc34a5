"""Files with tables in unsupported formats: each is refused with its format and a command that converts it."""

from __future__ import annotations

import gzip
import io
import pickle
import sqlite3
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pytest

from millrace.errors import SourceFormatError
from millrace.sources import SourceOptions, plan_source

Read = Callable[..., pa.Table]
Write = Callable[[str, bytes], Path]

TABLE = pa.table({"id": [1, 2], "word": ["a", "b"]})


def zipped(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            # A fixed modification time: the bytes are part of the test id, which must be the same in every worker.
            archive.writestr(zipfile.ZipInfo(name), b"\x93NUMPY" if name.endswith(".npy") else b"<xml/>")
    return out.getvalue()


def as_orc() -> bytes:
    out = io.BytesIO()
    pyarrow.orc.write_table(TABLE, out)
    return out.getvalue()


def as_feather() -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pyarrow.feather.write_feather(TABLE, out, version=1)
    return out.getvalue()


def as_npy() -> bytes:
    out = io.BytesIO()
    np.save(out, np.arange(4).reshape(2, 2))
    return out.getvalue()


def as_sqlite(path: Path) -> bytes:
    base = sqlite3.connect(path)
    base.execute('create table "my towns" (id, word)')
    base.execute("insert into \"my towns\" values (9007199254740993, 'a'), (null, x'00ff')")
    base.commit()
    base.close()
    return path.read_bytes()


@pytest.mark.parametrize(
    ("name", "data", "kind", "reads"),
    [
        ("a.xlsx", zipped("[Content_Types].xml", "xl/workbook.xml"), "an Excel workbook (xlsx)", "read_excel"),
        ("export.csv", zipped("[Content_Types].xml", "xl/workbook.xml"), "an Excel workbook (xlsx)", "read_excel"),
        ("a.ods", zipped("mimetype", "content.xml"), "an OpenDocument spreadsheet (ods)", "read_excel"),
        ("a.npz", zipped("x.npy"), "NumPy arrays (npz)", "numpy.load"),
        ("a.npz", zipped("x.npy", "y.npy"), "NumPy arrays (npz)", "numpy.load"),
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "an Excel workbook (xls)", "read_excel"),
        ("a.avro", b"Obj\x01\x04\x14avro.codec", "Avro data", "read_avro"),
        ("a.duckdb", bytes(8) + b"DUCK" + bytes(50), "a DuckDB database", "duckdb.connect"),
        ("a.h5", b"\x89HDF\r\n\x1a\n\0", "HDF5 data", "read_hdf"),
        ("a.npy", as_npy(), "a NumPy array (npy)", "numpy.load"),
        ("a.npy.gz", gzip.compress(as_npy(), mtime=0), "a NumPy array (npy)", "numpy.load"),
        ("model", pickle.dumps({"a": 1}, protocol=4), "a pickle", "only where you trust it"),
        ("old.pkl", pickle.dumps([1], protocol=2), "a pickle", "read_pickle"),
        ("a.orc", as_orc(), "ORC data", "orc.read_table"),
        ("a.parquet", as_orc(), "ORC data", "orc.read_table"),
        ("a.feather", as_feather(), "Feather data of version 1", "feather.read_table"),
    ],
)
def test_a_known_foreign_format_is_refused_by_name_and_stored_as_bytes_on_request(
    write: Write, name: str, data: bytes, kind: str, reads: str
) -> None:
    path = write(name, data)
    with pytest.raises(SourceFormatError) as refused:
        plan_source(str(path))
    assert f"{name} is {kind}, which is not supported" in str(refused.value)
    assert reads in str(refused.value)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert plan_source(str(path), SourceOptions(format="bytes")).kind == "bytes"


def test_beside_files_of_other_kinds_a_foreign_format_is_stored_as_bytes(write: Write, tmp_path: Path) -> None:
    write("d/numbers.npy", as_npy())
    with pytest.raises(SourceFormatError, match="a NumPy array"):
        plan_source(str(tmp_path / "d"))
    write("d/picture.png", b"\x89PNG\r\n\x1a\n\0\0\0")
    assert plan_source(str(tmp_path / "d")).format == "bytes"


@pytest.mark.parametrize("name", ["it's a.orc", "a.feather", "a.db"])
def test_the_command_in_the_refusal_converts_the_file(write: Write, read: Read, tmp_path: Path, name: str) -> None:
    make = {"it's a.orc": as_orc, "a.feather": as_feather, "a.db": lambda: as_sqlite(tmp_path / "made")}
    path = write(name, make[name]())
    with pytest.raises(SourceFormatError) as refused:
        plan_source(str(path))
    command = str(refused.value.hint).removeprefix("convert it (").rpartition("), or store")[0]
    assert command.startswith("python3 ")
    (tmp_path / "out").mkdir()
    program = f"'{sys.executable}' {command.removeprefix('python3 ')}"
    subprocess.run(["sh", "-c", program], cwd=tmp_path / "out", check=True, capture_output=True, timeout=60)
    (made,) = (tmp_path / "out").iterdir()
    rows = [{"id": 9007199254740993, "word": "a"}, {"id": None, "word": "00ff"}]
    assert read(made).to_pylist() == (rows if name == "a.db" else TABLE.to_pylist())
