"""The checksum of a source is that of its bytes, for every format and any number of splits."""

from __future__ import annotations

import bz2
import gzip
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace.sources import SourceChecksum, SourceOptions, open_source, open_split, plan_source

ROWS = 3000


def text(sign: str = ",") -> bytes:
    return f"n{sign}word\n".encode() + b"".join(f"{n}{sign}word {n}\n".encode() for n in range(ROWS))


def lines() -> bytes:
    return b"".join(b'{"n": %d}\n' % n for n in range(ROWS))


def table() -> pa.Table:
    return pa.table({"n": range(ROWS), "word": [f"word {n}" for n in range(ROWS)]})


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.csv", text())


def write_arrow(path: Path) -> None:
    with pa.ipc.new_file(path, table().schema) as writer:
        writer.write_table(table(), max_chunksize=500)


def write_stream(path: Path) -> None:
    with pa.ipc.new_stream(path, table().schema) as writer:
        writer.write_table(table(), max_chunksize=500)


SOURCES: dict[str, Callable[[Path], object]] = {
    "data.csv": lambda path: path.write_bytes(text()),
    "no_end.csv": lambda path: path.write_bytes(text()[:-1]),
    "marked.csv": lambda path: path.write_bytes(b"\xef\xbb\xbf" + text()),
    "data.csv.gz": lambda path: path.write_bytes(gzip.compress(text())),
    "data.csv.bz2": lambda path: path.write_bytes(bz2.compress(text())),
    "data.csv.zst": lambda path: path.write_bytes(pa.compress(text(), "zstd", asbytes=True)),
    "data.csv.zip": write_zip,
    "data.jsonl": lambda path: path.write_bytes(lines()),
    "data.parquet": lambda path: pq.write_table(table(), path, row_group_size=500),
    "data.arrow": write_arrow,
    "stream.arrows": write_stream,
    "data.bin": lambda path: path.write_bytes(bytes(range(256)) * 200),
    "empty.bin": lambda path: path.write_bytes(b""),
}


def read(path: str, *, splits: bool) -> SourceChecksum | None:
    kind = "bytes" if path.endswith((".bin", "folder")) else None
    plan = plan_source(path, SourceOptions(format=kind, split_bytes=5_000, piece_bytes=4_096))
    total: SourceChecksum | None = SourceChecksum()
    for reader in [open_split(plan, split) for split in plan.splits] if splits else [open_source(plan)]:
        with reader:
            assert reader.content is None
            for _ in reader:
                pass
            assert total is not None
            total = reader.content and total.followed_by(reader.content)
    return total


@pytest.mark.parametrize("splits", [False, True], ids=["one stream", "in splits"])
@pytest.mark.parametrize("name", SOURCES)
def test_a_source_read_to_its_end_has_the_checksum_of_the_file(tmp_path: Path, name: str, splits: bool) -> None:
    path = tmp_path / name
    SOURCES[name](path)
    data = path.read_bytes()
    assert read(str(path), splits=splits) == SourceChecksum(zlib.crc32(data), len(data))


@pytest.mark.parametrize("splits", [False, True], ids=["one stream", "in splits"])
@pytest.mark.parametrize("name", ["data.csv", "data.parquet", "data.bin"])
def test_the_checksum_of_a_folder_covers_its_files_in_order(tmp_path: Path, name: str, splits: bool) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(3):
        SOURCES[name](folder / f"{number}_{name}")
    if name == "data.bin":
        (folder / "empty").mkdir()
    data = b"".join(path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file())
    assert read(str(folder), splits=splits) == SourceChecksum(zlib.crc32(data), len(data))


def test_a_source_read_in_part_has_no_checksum(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(text())
    plan = plan_source(str(path), SourceOptions())
    with open_source(plan) as reader:
        next(reader)
    assert reader.content is None


@pytest.mark.parametrize("name", ["data.csv", "data.csv.gz", "data.csv.zip", "data.parquet", "data.arrow"])
def test_standard_input_has_a_checksum_unless_its_format_needs_random_access(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / name
    SOURCES[name](path)
    with path.open("rb") as stream:
        monkeypatch.setattr("sys.stdin", stream)
        plan = plan_source("-", SourceOptions())
        with open_source(plan) as reader:
            assert sum(batch.num_rows for batch in reader) == ROWS
    data = path.read_bytes()
    has_checksum = not name.endswith((".zip", ".parquet"))  # these are spooled for random access
    assert reader.content == (SourceChecksum(zlib.crc32(data), len(data)) if has_checksum else None)
