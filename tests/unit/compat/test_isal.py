"""A gzip member is inflated to the same bytes, and refused for the same damage, with and without ``_GzipReader``."""

from __future__ import annotations

import gzip
import random
import zlib
from contextlib import nullcontext

import pytest
from isal import isal_zlib

from millrace.compat.isal import inflate_into
from millrace.compat.versions import ISAL, stock_behaviour

DAMAGE = (EOFError, gzip.BadGzipFile, isal_zlib.error, zlib.error)


@pytest.fixture(params=[False, True], ids=["private", "stock"], autouse=True)
def behaviour(request: pytest.FixtureRequest):  # type: ignore[no-untyped-def]
    with stock_behaviour(ISAL) if request.param else nullcontext():
        yield


@pytest.mark.parametrize("size", [0, 1, 1000, 65_536, 3_000_000])
def test_a_member_is_inflated_into_the_memory_given(size: int) -> None:
    raw = random.Random(size).randbytes(size // 2) + bytes(size - size // 2)
    out = bytearray(size)
    for level in (0, 1, 9):
        assert inflate_into(gzip.compress(raw, level), memoryview(out)) == size
        assert out == raw


def test_a_member_that_is_larger_or_smaller_than_the_memory_is_reported() -> None:
    stored = gzip.compress(bytes(1000))
    assert inflate_into(stored, memoryview(bytearray(999))) > 999
    assert inflate_into(stored, memoryview(bytearray(0))) > 0
    assert inflate_into(stored, memoryview(bytearray(1500))) == 1000


def test_every_damage_of_a_member_is_an_error() -> None:
    raw = random.Random(3).randbytes(300) + bytes(300)
    stored = gzip.compress(raw, mtime=0)
    for end in range(1, len(stored)):
        with pytest.raises(DAMAGE):
            assert inflate_into(stored[:end], memoryview(bytearray(600))) == 600
    for position in (0, 2, 12, len(stored) // 2, len(stored) - 6):
        damaged = bytearray(stored)
        damaged[position] ^= 0x55
        with pytest.raises(DAMAGE):
            assert inflate_into(bytes(damaged), memoryview(bytearray(600))) == 600
