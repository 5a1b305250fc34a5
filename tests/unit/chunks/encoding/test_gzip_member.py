"""Gzip members that deflate only compressible buffers: every gzip reads them, and their overhead is bounded."""

from __future__ import annotations

import gzip
import io
import zlib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from isal import igzip_lib

from millrace.chunks.encoding.codecs import CODECS
from millrace.chunks.encoding.gzip_member import write_gzip_member

SIZES = [0, 1, 4, 8_191, 32_767, 32_768, 32_769, 65_535, 65_536, 131_071, 262_143, 262_144, 262_145, 700_000]


def made(kind: str, size: int, seed: int = 1) -> bytes:
    rng = np.random.default_rng(seed)
    if kind == "noise":
        return rng.bytes(size)
    if kind == "few":
        return rng.integers(0, 3, size, np.uint8).tobytes()
    if kind == "zeros":
        return bytes(size)
    return (rng.bytes(10_000) * (size // 10_000 + 1))[:size]  # repeats only at a distance of 10,000 bytes


def read_by_all(member: bytes, raw: bytes) -> None:
    assert gzip.decompress(member) == raw
    assert zlib.decompress(member, wbits=31) == raw
    assert igzip_lib.decompress(member, flag=igzip_lib.DECOMP_GZIP) == raw
    assert gzip.GzipFile(fileobj=io.BytesIO(member)).read() == raw
    assert CODECS["gzip"].decompress(member, len(raw)).to_pybytes() == raw
    assert member[-8:] == zlib.crc32(raw).to_bytes(4, "little") + len(raw).to_bytes(4, "little")


@given(
    buffers=st.lists(
        st.tuples(st.sampled_from(["noise", "few", "zeros", "distance"]), st.sampled_from(SIZES)), max_size=6
    ),
    level=st.integers(0, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_buffers_become_one_member_that_every_gzip_reads(
    buffers: list[tuple[str, int]], level: int, seed: int
) -> None:
    pieces = [made(kind, size, seed + i) for i, (kind, size) in enumerate(buffers)]
    member = write_gzip_member(pieces, level)
    read_by_all(member, b"".join(pieces))
    assert write_gzip_member(pieces, level) == member


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, pa.py_buffer])
def test_buffers_of_any_kind_are_taken(kind: Any) -> None:
    pieces = [made("noise", 100_000), made("few", 100_000), b"x"]
    read_by_all(write_gzip_member([kind(piece) for piece in pieces], 1), b"".join(pieces))


def test_incompressible_data_grows_by_five_bytes_for_64_kib() -> None:
    for size in SIZES:
        member = write_gzip_member([made("noise", size)], 1)
        assert len(member) <= size + 23 + 5 * (-(-size // 65_535) + size // 262_144)


def test_each_buffer_is_deflated_or_stored_on_its_own() -> None:
    noise, few = made("noise", 200_000), made("few", 200_000)
    alone = [len(write_gzip_member([piece], 1)) for piece in (noise, few)]
    assert alone[0] > 200_000
    assert alone[1] < 60_000
    for pieces in ([noise, few], [few, noise], [few, noise, few]):
        expected = sum(alone[0] if piece is noise else alone[1] for piece in pieces)
        assert abs(len(write_gzip_member(pieces, 1)) - expected) < 100


def test_each_piece_of_a_long_buffer_is_deflated_or_stored_on_its_own() -> None:
    mixed = made("noise", 262_144) + made("zeros", 262_144) + made("noise", 262_144)
    assert len(write_gzip_member([mixed], 1)) < 2 * 262_144 + 2_000


def test_repeats_at_a_distance_are_deflated_at_level_3() -> None:
    assert len(write_gzip_member([made("distance", 262_144)], 3)) < 0.2 * 262_144


def test_a_stored_buffer_between_equal_ones_does_not_break_back_references() -> None:
    text = b"the same sentence, over and over; " * 3_000
    read_by_all(write_gzip_member([text, made("noise", 300_000), text], 1), text + made("noise", 300_000) + text)


def test_many_short_buffers_are_deflated_together() -> None:
    pieces = [b"a short buffer of few bytes" for _ in range(5_000)]
    assert len(write_gzip_member(pieces, 1)) < 2_000


def test_no_bytes_become_an_empty_member() -> None:
    for pieces in ([], [b""], [b"", b""]):
        read_by_all(write_gzip_member(pieces, 1), b"")


def test_a_buffer_is_deflated_only_if_it_shrinks_by_a_fifth() -> None:
    rng = np.random.default_rng(4)
    # Random bytes of 2^bits values shrink to bits / 8 of their size, without repetitions.
    six, seven = (rng.integers(0, 1 << bits, 200_000, np.uint8).tobytes() for bits in (6, 7))
    assert len(write_gzip_member([six], 1)) < 0.8 * 200_000
    assert len(write_gzip_member([seven], 1)) > 200_000
