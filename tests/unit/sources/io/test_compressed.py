from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard

from millrace.errors import SourceCorruptError, SourceEmptyError, SourceFormatError, SourceTooLargeError
from millrace.sources import SourceOptions, open_source, plan_source

Read = Callable[..., pa.Table]
Write = Callable[[str, bytes], Path]

TEXT = b"a,b\n" + b"".join(b"%d,%s\n" % (number, os.urandom(4).hex().encode()) for number in range(2_000))


def zipped(data: bytes, *, names: tuple[str, ...] = ("a.csv",), method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name in names:
            archive.writestr(name, data)
    return out.getvalue()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "zst": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data),
    "zip": zipped,
}


@pytest.mark.parametrize("ending", PACKERS)
@pytest.mark.parametrize("name", ["a.csv.{}", "a.csv", "a.{}", "a"])
def test_a_compressed_file_is_read_under_any_name(
    write: Write, read: Read, read_parts: Read, ending: str, name: str
) -> None:
    path = write(name.format(ending), PACKERS[ending](TEXT))
    expected = read(write("plain.csv", TEXT))
    assert read(path).equals(expected)
    assert read_parts(path, split_bytes=1).equals(expected)
    assert len(plan_source(str(path), SourceOptions(split_bytes=1)).splits) == 1


@pytest.mark.parametrize("ending", ["gz", "bz2", "zst"])
def test_concatenated_members_are_one_stream(write: Write, read: Read, ending: str) -> None:
    pack = PACKERS[ending]
    path = write(f"a.csv.{ending}", pack(TEXT[:5000]) + pack(TEXT[5000:]))
    assert read(path).equals(read(write("plain.csv", TEXT)))


@pytest.mark.parametrize("ending", PACKERS)
def test_a_truncated_compressed_file_is_refused_by_name(write: Write, read: Read, ending: str) -> None:
    data = PACKERS[ending](TEXT)
    for size in (*range(5, 40, 3), len(data) // 2, *range(len(data) - 9, len(data))):
        with pytest.raises(SourceCorruptError, match=rf"a.csv.{ending} (is cut short|is damaged|has the suffix of)"):
            read(write(f"a.csv.{ending}", data[:size]))


@pytest.mark.parametrize("ending", ["gz", "zst", "zip"])
def test_a_compressed_file_with_changed_bytes_is_refused_by_name(write: Write, read: Read, ending: str) -> None:
    data = bytearray(PACKERS[ending](TEXT))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(SourceCorruptError, match=f"a.csv.{ending}"):
        read(write(f"a.csv.{ending}", bytes(data)), column_types=(("b", "string"),))


@pytest.mark.parametrize("ending", ["gz", "bz2", "zst"])
def test_other_data_after_the_end_is_refused(write: Write, read: Read, ending: str) -> None:
    with pytest.raises(SourceCorruptError, match=f"a.csv.{ending}"):
        read(write(f"a.csv.{ending}", PACKERS[ending](TEXT) + b"and something else, long enough"))


@pytest.mark.parametrize("ending", PACKERS)
def test_an_uncompressed_file_named_like_a_compressed_one_is_refused(write: Write, read: Read, ending: str) -> None:
    with pytest.raises(SourceCorruptError, match=rf"a.csv.{ending} has the suffix of .* but not its first bytes"):
        read(write(f"a.csv.{ending}", TEXT))


def test_a_text_that_begins_like_bzip2_is_a_text(write: Write, read: Read) -> None:
    assert read(write("a.csv", b"BZh9,b\n1,2\n")).column_names == ["BZh9", "b"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (zipped(TEXT, names=("a.csv", "b.csv")), "is a zip with 2 files"),
        (zipped(TEXT, names=()), "is a zip with 0 files"),
        (zipped(b"", names=("folder/",)), "is a zip with 0 files"),
        (zipped(TEXT, method=zipfile.ZIP_LZMA), "uses zip method 14"),
    ],
    ids=["two files", "no file", "a folder", "lzma"],
)
def test_a_zip_must_hold_exactly_one_ordinary_file(write: Write, read: Read, data: bytes, message: str) -> None:
    with pytest.raises(SourceFormatError, match=message):
        read(write("a.zip", data))


def test_an_encrypted_zip_is_refused(write: Write, read: Read) -> None:
    data = bytearray(zipped(TEXT))
    directory = data.index(b"PK\x01\x02")
    data[6] |= 1
    data[directory + 8] |= 1
    with pytest.raises(SourceFormatError, match="is an encrypted zip"):
        read(write("a.zip", bytes(data)))


def test_a_zip_with_a_link_in_it_is_refused(write: Write, read: Read) -> None:
    member = zipfile.ZipInfo("a.csv")
    member.external_attr = 0o120777 << 16
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(member, "/etc/passwd")
    with pytest.raises(SourceFormatError, match="has a link and no file"):
        read(write("a.zip", out.getvalue()))


def test_the_path_of_a_member_of_a_zip_is_not_used(write: Write, read: Read, tmp_path: Path) -> None:
    path = write("a.zip", zipped(TEXT, names=("../../evil.csv",)))
    assert read(path).num_rows == 2000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip"]


def test_a_zip_with_a_wrong_checksum_is_refused(write: Write, read: Read) -> None:
    data = bytearray(zipped(TEXT, method=zipfile.ZIP_STORED))
    data[data.index(b"999,")] = ord("8")
    with pytest.raises(SourceCorruptError, match=r"a.zip is damaged zip data"):
        read(write("a.zip", bytes(data)))


@pytest.mark.parametrize("ending", PACKERS)
def test_a_decompression_bomb_is_refused_as_a_record_above_the_limit(write: Write, read: Read, ending: str) -> None:
    path = write(f"a.csv.{ending}", PACKERS[ending](b"a,b\n" + bytes(50_000_000)))
    with pytest.raises(SourceTooLargeError, match=r"line 2: a record of 50,000,000 bytes"):
        read(path, max_unit_bytes=1_000_000)


def test_a_zstd_window_that_would_take_a_gigabyte_is_refused(write: Write, read: Read) -> None:
    frame = b"\x28\xb5\x2f\xfd" + b"\x00\xa0" + b"\x21\x00\x00" + b"a,b\n"
    with pytest.raises(SourceCorruptError, match="requires too much memory"):
        read(write("a.csv.zst", frame))
    small = b"\x28\xb5\x2f\xfd" + b"\x00\x20" + b"\x21\x00\x00" + b"a,b\n"
    assert read(write("b.csv.zst", small)).column_names == ["a", "b"]


def test_a_compression_inside_a_compression_is_not_opened(write: Write) -> None:
    plan = plan_source(str(write("a.gz", gzip.compress(gzip.compress(TEXT)))))
    assert plan.format == "bytes"


def test_progress_of_a_compressed_file_is_in_its_own_bytes(write: Write) -> None:
    text = b"".join(b"%d,%s\n" % (number, os.urandom(4_000).hex().encode()) for number in range(1_500))
    path = write("a.csv.gz", gzip.compress(b"a,b\n" + text, 1))
    seen = []
    with open_source(plan_source(str(path), SourceOptions(infer_bytes=10_000))) as reader:
        for _ in reader:
            seen.append(reader.bytes_read)
    assert seen == sorted(seen)
    assert len(set(seen)) > 2
    assert seen[-1] <= reader.bytes_read == path.stat().st_size


def skippable(size: int, number: int = 0) -> bytes:
    return struct.pack("<II", 0x184D2A50 + number, size) + bytes(size)


@pytest.mark.parametrize(
    "first",
    [skippable(4), skippable(0, 15), skippable(300_000, 7), b"".join(skippable(n * 9, n) for n in range(16))],
    ids=["one", "empty", "large", "of each number"],
)
@pytest.mark.parametrize("name", ["a.csv.zst", "a.csv", "a"])
def test_zstd_may_begin_with_skippable_frames(write: Write, read: Read, first: bytes, name: str) -> None:
    data = first + PACKERS["zst"](TEXT[:5000]) + skippable(40) + PACKERS["zst"](TEXT[5000:]) + skippable(2)
    assert read(write(name, data)).equals(read(write("plain.csv", TEXT)))


@pytest.mark.parametrize("name", ["a.csv.zst", "a.zst", "a"])
def test_skippable_frames_alone_are_an_empty_file(write: Write, name: str) -> None:
    with pytest.raises(SourceEmptyError, match="is empty"):
        plan_source(str(write(name, skippable(4) + skippable(90, 3))))


def test_a_truncated_skippable_frame_is_refused(write: Write, read: Read) -> None:
    for data in (
        skippable(40)[:-1],
        PACKERS["zst"](TEXT) + skippable(40)[:-1],
        PACKERS["zst"](TEXT) + skippable(9)[:6],
    ):
        with pytest.raises(SourceCorruptError, match=r"a.csv.zst is (cut short|no intact)"):
            read(write("a.csv.zst", data))


def test_a_column_of_numbers_in_a_compressed_file_without_a_known_ending_is_a_table(write: Write, read: Read) -> None:
    text = b"id\n" + b"".join(b"%d\n" % number for number in range(100))
    data = skippable(4) + PACKERS["zst"](text)
    assert read(write("rows", data)).column("id").to_pylist() == list(range(100))


@pytest.mark.parametrize(
    "parts",
    [(b"", TEXT), (TEXT, b""), (TEXT[:5000], b"", TEXT[5000:]), (TEXT[:5000], b"", b"", b"", TEXT[5000:], b"")],
)
@pytest.mark.parametrize("ending", ["bz2", "gz", "zst"])
def test_empty_streams_between_others_are_read(write: Write, read: Read, ending: str, parts: tuple[bytes, ...]) -> None:
    path = write(f"a.csv.{ending}", b"".join(map(PACKERS[ending], parts)))
    assert read(path).equals(read(write("plain.csv", TEXT)))


def test_bz2_with_changed_bytes_is_refused_by_name(write: Write, read: Read) -> None:
    data = bytearray(bz2.compress(TEXT[:5000]) + bz2.compress(b"") + bz2.compress(TEXT[5000:]))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(SourceCorruptError, match=r"a.csv.bz2 is damaged bz2 data"):
        read(write("a.csv.bz2", bytes(data)), column_types=(("b", "string"),))


def test_gzip_with_every_header_field_and_trailing_zeros_is_read(write: Write, read: Read) -> None:
    head = (
        b"\x1f\x8b\x08\x1e\0\0\0\0\0\x03" + struct.pack("<H", 60_000) + bytes(60_000) + b"name\0" + b"c" * 9000 + b"\0"
    )
    body = gzip.compress(TEXT)[10:]
    path = write("a.csv.gz", head + struct.pack("<H", zlib.crc32(head) & 0xFFFF) + body + bytes(600))
    assert read(path).equals(read(write("plain.csv", TEXT)))


UNREADABLE = {
    "xz": (lzma.compress(TEXT), "xz -dk"),
    "lz4": (b"\x04\x22\x4d\x18" + bytes(60), "lz4 -dk"),
    "snappy": (b"\xff\x06\0\0sNaPpY" + bytes(60), "snzip -dk"),
    "lzip": (b"LZIP\x01" + bytes(60), "lzip -dk"),
    "lzop": (b"\x89LZO\0\r\n\x1a\n" + bytes(60), "lzop -dk"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
@pytest.mark.parametrize("name", ["a b.csv.{}", "a b.csv", "a b"])
@pytest.mark.parametrize("format_", [None, "csv", "parquet"])
def test_an_unsupported_compression_is_refused_by_name_with_the_command(
    write: Write, kind: str, name: str, format_: str | None
) -> None:
    data, command = UNREADABLE[kind]
    path = write(name.format(kind), data)
    with pytest.raises(SourceFormatError, match=rf"is compressed with {kind}, .*{command} 'a b.*--format bytes"):
        plan_source(str(path), SourceOptions(format=format_))
    assert plan_source(str(path), SourceOptions(format="bytes")).total_bytes == len(data)


def test_brotli_has_no_magic_number_and_is_refused_by_its_file_name(write: Write) -> None:
    with pytest.raises(SourceFormatError, match=r"a.csv.br is compressed with brotli, .*brotli -dk"):
        plan_source(str(write("a.csv.br", b"\x1b\xff\x00\x80 not text")))


def test_macos_metadata_in_a_zip_is_ignored(write: Write, read: Read) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in (("d/", b""), ("d/a.csv", TEXT), ("__MACOSX/d/._a.csv", b"x"), ("d/.DS_Store", b"x")):
            archive.writestr(name, data)
    assert read(write("a.zip", out.getvalue())).equals(read(write("plain.csv", TEXT)))


def test_a_zip64_that_was_written_to_a_pipe_is_read(write: Write, read: Read) -> None:
    class Pipe(io.RawIOBase):
        data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            self.data += bytes(data)  # type: ignore[call-overload]
            return len(bytes(data))  # type: ignore[call-overload]

    out = Pipe()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.csv", "w", force_zip64=True) as f:
        f.write(TEXT)
    assert out.data[6] & 8
    assert read(write("a.zip", out.data)).equals(read(write("plain.csv", TEXT)))
