"""Damaged, swapped and hostile tiles raise a ``ChunkError`` or decode to the right rows, in bounded memory."""

from __future__ import annotations

import gzip
import io
import random
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xxhash
import zstandard
from isal import isal_zlib

from millrace.chunks import ChunkSettings, Tile, TileLayout, decode_tile, encode_row_group
from millrace.chunks.encoding.gzip_member import crc_and_size
from millrace.chunks.narrow import narrow_batch
from millrace.errors import ChecksumMismatchError, ChunkError, ChunkFormatError

WHERE = {"dataset": "flights", "version": "12-3fa9c1", "chunk": 4, "tile": 2, "node": "127.0.0.2"}
CODECS = ["gzip", "zstd", "none"]


def make(codec: str, seed: int = 0) -> tuple[Tile, pa.RecordBatch]:
    rng = np.random.default_rng(seed)
    batch = pa.record_batch(
        [pa.array(rng.integers(0, 50, 3000)), pa.array([f"w{i % 17}" for i in range(3000)])], ["n", "w"]
    )
    [chunk] = encode_row_group(batch, ChunkSettings(codec=codec), TileLayout(((0, 1),)))
    assert chunk.tiles[0].codec == codec
    return chunk.tiles[0], narrow_batch(batch)


def read(tile: Tile, **change: Any) -> pa.RecordBatch:
    facts = {"codec": tile.codec, "raw_bytes": tile.raw_bytes, "raw_checksum": tile.raw_checksum}
    facts["stored_checksum"] = tile.stored_checksum
    return decode_tile(tile.stored, **{**facts, **change}, where=WHERE)


def forged(stored: bytes, tile: Tile) -> Tile:
    """Replace the stored bytes and their checksum: no real manifest has this, but the decoder must survive it."""
    return replace(tile, stored=stored, stored_checksum=xxhash.xxh3_128_digest(stored))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, pa.py_buffer])
def test_a_tile_reads_back_from_any_buffer(codec: str, kind: Any) -> None:
    tile, batch = make(codec)
    assert read(replace(tile, stored=kind(tile.stored))).equals(batch)


def test_a_tile_can_be_read_with_gzip_and_pyarrow_alone() -> None:
    tile, batch = make("gzip")
    raw = gzip.decompress(tile.stored)
    assert pa.ipc.open_stream(io.BytesIO(raw)).read_all().to_batches()[0].equals(batch)
    assert tile.raw_checksum == tile.stored[-8:]


@pytest.mark.parametrize("codec", CODECS)
def test_the_checksums_are_those_that_the_format_documents(codec: str) -> None:
    import zlib

    tile, _ = make(codec)
    opened: dict[str, Any] = {"gzip": gzip.decompress, "zstd": zstandard.decompress, "none": bytes}
    raw = opened[codec](tile.stored)
    assert tile.raw_bytes == len(raw)
    assert tile.raw_checksum == zlib.crc32(raw).to_bytes(4, "little") + len(raw).to_bytes(4, "little")
    assert tile.stored_checksum == xxhash.xxh3_128(tile.stored).digest()


@pytest.mark.parametrize("codec", CODECS)
def test_one_flipped_bit_is_found_before_anything_is_decoded(codec: str) -> None:
    tile, _ = make(codec)
    rng = random.Random(1)
    for _ in range(200):
        damaged = bytearray(tile.stored)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        with pytest.raises(ChecksumMismatchError) as error:
            read(replace(tile, stored=bytes(damaged)))
        assert error.value.context["stage"] == "stored"
        assert error.value.context["expected"] == tile.stored_checksum.hex()
        assert error.value.context["node"] == "127.0.0.2"


def test_a_checksum_error_names_the_tile_and_both_checksums() -> None:
    tile, _ = make("gzip")
    other, _ = make("gzip", seed=1)
    with pytest.raises(ChecksumMismatchError) as error:
        read(replace(tile, stored=other.stored))
    message = str(error.value)
    for part in ("flights", "12-3fa9c1", "chunk 4", "tile 2", "127.0.0.2"):
        assert part in message
    assert tile.stored_checksum.hex() in message
    assert other.stored_checksum.hex() in message


@pytest.mark.parametrize("codec", CODECS)
def test_a_valid_tile_in_place_of_another_is_refused(codec: str) -> None:
    tile, _ = make(codec)
    other, _ = make(codec, seed=1)
    with pytest.raises(ChunkError):
        read(replace(tile, stored=other.stored, stored_checksum=other.stored_checksum))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("seed", range(4))
def test_damage_under_a_valid_checksum_raises_a_chunk_error_or_gives_the_right_rows(codec: str, seed: int) -> None:
    tile, batch = make(codec)
    rng = random.Random(seed)
    messages = []
    for _ in range(150):
        damaged = bytearray(tile.stored)
        match rng.randrange(5):
            case 0:
                damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
            case 1:
                del damaged[rng.randrange(len(damaged)) :]
            case 2:
                damaged += rng.randbytes(rng.randrange(1, 40)) if rng.random() < 0.5 else bytes(rng.randrange(1, 40))
            case 3:
                a, b = sorted(rng.sample(range(len(damaged)), 2))
                damaged[a:b] = damaged[a:b][::-1]
            case _:
                a = rng.randrange(len(damaged))
                damaged[a:a] = rng.randbytes(rng.randrange(1, 9))
        try:
            rows = read(forged(bytes(damaged), tile))
        except ChunkError as error:
            messages.append(str(error))
        else:
            assert rows.equals(batch)
    assert len(messages) > 100
    assert all("flights" in message for message in messages)


def consistent(raw: bytes, tile: Tile) -> pa.RecordBatch:
    """Decode other raw bytes under valid checksums, so that they reach Arrow."""
    buffer = pa.py_buffer(raw)
    return read(forged(raw, tile), raw_bytes=buffer.size, raw_checksum=crc_and_size([buffer]))


def test_a_truncated_stream_under_valid_checksums_is_refused() -> None:
    tile, _ = make("none")
    # The last 8 bytes are only the end-of-stream marker.
    for length in range(1, len(tile.stored) - 8, 97):
        with pytest.raises(ChunkFormatError, match="not an Arrow stream of one batch"):
            consistent(tile.stored[:length], tile)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_arrow_metadata_under_valid_checksums_never_crashes(seed: int) -> None:
    tile, _ = make("none")
    rng = random.Random(seed)
    refused = 0
    for _ in range(200):
        damaged = bytearray(tile.stored)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(600)] ^= 1 << rng.randrange(8)
        try:
            consistent(bytes(damaged), tile)
        except ChunkFormatError:
            refused += 1
    assert refused > 50


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("wrong", [-1, 1, 1 << 20])
def test_a_raw_size_other_than_recorded_is_refused(codec: str, wrong: int) -> None:
    tile, _ = make(codec)
    with pytest.raises(ChunkFormatError, match="bytes"):
        read(tile, raw_bytes=tile.raw_bytes + wrong)


@pytest.mark.parametrize("raw_bytes", [0, -1, 1 << 40])
def test_a_raw_size_out_of_range_is_refused(raw_bytes: int) -> None:
    tile, _ = make("gzip")
    with pytest.raises(ChunkFormatError, match="raw size"):
        read(tile, raw_bytes=raw_bytes)


@pytest.mark.parametrize("codec", CODECS)
def test_a_raw_checksum_other_than_recorded_is_refused(codec: str) -> None:
    tile, _ = make(codec)
    with pytest.raises(ChecksumMismatchError, match="raw bytes") as error:
        read(tile, raw_checksum=bytes(8))
    assert error.value.context["stage"] == "raw"


def test_an_unknown_codec_is_refused_with_the_known_ones() -> None:
    tile, _ = make("gzip")
    with pytest.raises(ChunkFormatError, match=r"tile 2.*unknown codec 'lz4'.*gzip, zstd, none"):
        read(tile, codec="lz4")


@pytest.mark.parametrize("tail", [b"\0", bytes(512), b"garbage", isal_zlib.compress(b"more", 1, wbits=31)])
def test_nothing_may_follow_a_gzip_member(tail: bytes) -> None:
    tile, _ = make("gzip")
    with pytest.raises(ChunkFormatError):
        read(forged(tile.stored + tail, tile))


@pytest.mark.parametrize("tail", [b"\0", b"garbage", zstandard.compress(b"more")])
def test_nothing_may_follow_a_zstd_frame(tail: bytes) -> None:
    tile, _ = make("zstd")
    with pytest.raises(ChunkFormatError):
        read(forged(tile.stored + tail, tile))


def test_a_second_batch_or_bytes_after_the_stream_are_refused() -> None:
    tile, batch = make("none")
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
        stream.write_batch(batch)
    for raw in (sink.getvalue(), pa.py_buffer(tile.stored + b"12345678")):
        with pytest.raises(ChunkFormatError, match="more than one batch, or bytes after the end"):
            read(forged(raw.to_pybytes(), tile), raw_bytes=raw.size, raw_checksum=crc_and_size([raw]))


_BOMB = """
import sys
import xxhash, zstandard
from isal import isal_zlib
from millrace.chunks import decode_tile
from millrace.errors import ChunkFormatError

piece = bytes(1_000_000)

def peak_kib():
    # Not ru_maxrss: that begins with what the parent had.
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

def packed(coder):
    return b"".join([coder.compress(piece) for _ in range(200)] + [coder.flush()])

gzip = packed(isal_zlib.compressobj(1, isal_zlib.DEFLATED, 31))
lying = gzip[:-4] + len(piece).to_bytes(4, "little")  # the size that the manifest promises
zstd = packed(zstandard.ZstdCompressor().compressobj(size=200_000_000))
silent = packed(zstandard.ZstdCompressor().compressobj())
before = peak_kib()
for codec, stored in (("gzip", gzip), ("gzip", lying), ("zstd", zstd), ("zstd", silent)):
    try:
        decode_tile(stored, codec=codec, raw_bytes=len(piece), stored_checksum=xxhash.xxh3_128_digest(stored),
                    raw_checksum=bytes(8), where={})
    except ChunkFormatError:
        continue
    sys.exit(f"{codec} was taken")
print(peak_kib() - before)
"""


def test_a_decompression_bomb_of_200_mb_is_refused_without_allocating_it() -> None:
    ran = subprocess.run([sys.executable, "-c", _BOMB], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) * 1024 < 20_000_000


def test_decoding_allocates_one_buffer_of_the_raw_size() -> None:
    tile, _ = make("gzip")
    before = pa.total_allocated_bytes()
    rows = read(tile)
    allocated_bytes = pa.total_allocated_bytes() - before
    assert tile.raw_bytes <= allocated_bytes < tile.raw_bytes + 65_536
    assert rows.num_rows == 3000
