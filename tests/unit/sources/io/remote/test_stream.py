"""Streams of remote files: read-ahead, retries, and the byte at which a read continues."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest

from millrace.errors import SourceChangedError, SourceNotFoundError, SourceUnavailableError
from millrace.sources.io.remote.model import RemoteFile, TransferInterrupted
from millrace.sources.io.remote.retries import RetryPolicy
from millrace.sources.io.remote.stream import HEAD_BYTES, Heads, RemoteStream
from millrace.sources.model import FileFacts

DATA = bytes(range(256)) * 20_000
Script = Callable[[Iterator[bytes]], Iterator[bytes]]


def resets_after(count: int) -> Script:
    def script(pieces: Iterator[bytes]) -> Iterator[bytes]:
        left = count
        for piece in pieces:
            if left <= 0:
                break
            yield piece[:left]
            left -= len(piece)
        raise TransferInterrupted("reset")

    return script


def fails_with(error: Exception) -> Script:
    def script(pieces: Iterator[bytes]) -> Iterator[bytes]:
        raise error
        yield from pieces

    return script


def ends_early(pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield next(pieces)[:7]


@dataclass
class ScriptedFiles:
    """One file; each of ``scripts`` changes one answer, in their order. ``requests`` are the ranges asked for."""

    data: bytes = DATA
    scripts: list[Script] = field(default_factory=list)
    requests: list[tuple[int, int]] = field(default_factory=list)
    piece_bytes: int = 60_000

    def list(self, path: str) -> Iterator[RemoteFile]:
        raise NotImplementedError

    def facts(self, path: str) -> RemoteFile:
        raise NotImplementedError

    def read(self, file: RemoteFile, start: int, stop: int) -> Iterator[bytes]:
        self.requests.append((start, stop))
        end = len(self.data) if stop < 0 else stop
        pieces = (self.data[at : min(at + self.piece_bytes, end)] for at in range(start, end, self.piece_bytes))
        yield from self.scripts.pop(0)(pieces) if self.scripts else pieces


@dataclass
class Waits:
    seconds: list[float] = field(default_factory=list)

    def __call__(self, delay_s: float) -> None:
        self.seconds.append(delay_s)


def stream(files: ScriptedFiles, **given: Any) -> RemoteStream:
    policy = given.pop("policy", RetryPolicy(sleep=Waits()))
    heads = given.pop("heads", None) or Heads()
    facts = FileFacts(len(files.data), 1, '"tag"')
    return RemoteStream(files, RemoteFile("a", facts, **given), "s3://b/a", heads=heads, policy=policy)


def test_a_file_is_read_front_to_back_in_ranges_that_grow() -> None:
    files = ScriptedFiles(data=DATA * 4)
    assert stream(files).read() == DATA * 4
    starts, stops = zip(*files.requests, strict=True)
    sizes = [stop - start for start, stop in files.requests]
    assert starts == (0, *stops[:-1])
    assert sizes[0] == HEAD_BYTES
    assert all(after == 2 * before for before, after in pairwise(sizes[1:-1]))


def test_reads_of_any_size_give_the_bytes_at_the_position() -> None:
    opened = stream(ScriptedFiles())
    for offset, size in [(0, 10), (5_000_000, 70), (100, 400_000), (len(DATA) - 3, 10), (1_048_570, 20), (262_140, 9)]:
        opened.seek(offset)
        assert opened.read(size) == DATA[offset : offset + size]
        assert opened.tell() == min(offset + size, len(DATA))
    assert opened.seek(-4, io.SEEK_END) == len(DATA) - 4
    assert opened.read() == DATA[-4:]
    assert opened.read(1) == b""


def test_a_buffer_is_filled_in_place() -> None:
    buffer = bytearray(300_000)
    assert stream(ScriptedFiles()).readinto(buffer) == 300_000
    assert bytes(buffer) == DATA[:300_000]


def test_a_reader_that_returns_to_several_places_requests_each_block_once() -> None:
    files = ScriptedFiles()
    opened = stream(files)
    for step in range(16):
        for block in (1, 3):
            opened.seek((block << 20) + step * 65_536)
            opened.read(65_536)
    assert len(files.requests) == 2


def test_the_beginning_is_requested_once_for_all_streams_of_equal_facts() -> None:
    files, heads = ScriptedFiles(), Heads()
    for _ in range(3):
        assert stream(files, heads=heads).read(1000) == DATA[:1000]
    assert files.requests == [(0, HEAD_BYTES)]


def test_no_more_than_the_given_number_of_beginnings_is_kept() -> None:
    heads = Heads(heads_max=2)
    for key in "abc":
        heads.put(key, b"x")
    assert [heads.get(key) for key in "abc"] == [None, b"x", b"x"]


@pytest.mark.parametrize("place", range(10))
def test_a_read_continues_at_the_byte_reached_after_a_reset(place: int) -> None:
    reached = place * 30_011
    files = ScriptedFiles(scripts=[iter, resets_after(reached)])
    assert stream(files).read() == DATA
    assert files.requests[2] == (HEAD_BYTES + reached, files.requests[1][1])


def test_ten_resets_in_a_row_do_not_end_a_read_that_gets_on() -> None:
    waits = Waits()
    files = ScriptedFiles(scripts=[resets_after(1000)] * 10)
    assert stream(files, policy=RetryPolicy(attempts_max=3, sleep=waits)).read() == DATA
    assert len(waits.seconds) == 10


def test_a_short_answer_is_continued() -> None:
    assert stream(ScriptedFiles(scripts=[iter, ends_early])).read() == DATA


def test_the_delays_between_attempts_grow_to_a_limit() -> None:
    waits = Waits()
    files = ScriptedFiles(scripts=[fails_with(TransferInterrupted("status 503"))] * 7)
    assert stream(files, policy=RetryPolicy(delay_max_s=4.0, sleep=waits)).read(5) == DATA[:5]
    limits = [0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    assert all(limit / 2 <= wait <= limit for wait, limit in zip(waits.seconds, limits, strict=True))


def test_a_read_ends_after_the_last_attempt_with_the_reason() -> None:
    files = ScriptedFiles(scripts=[fails_with(TransferInterrupted("status 503"))] * 9)
    with pytest.raises(SourceUnavailableError, match=r"s3://b/a cannot be read now: status 503: 4 attempts") as raised:
        stream(files, policy=RetryPolicy(attempts_max=4, sleep=Waits())).read(5)
    assert raised.value.retriable
    assert len(files.requests) == 4


def test_a_read_ends_at_its_deadline() -> None:
    files = ScriptedFiles(scripts=[fails_with(TransferInterrupted("timeout"))] * 9)
    with pytest.raises(SourceUnavailableError):
        stream(files, policy=RetryPolicy(deadline_s=0.0, sleep=Waits())).read(5)
    assert len(files.requests) == 1


@pytest.mark.parametrize("error", [SourceNotFoundError("gone"), SourceChangedError("changed")])
def test_other_errors_are_not_retried(error: Exception) -> None:
    files = ScriptedFiles(scripts=[iter, fails_with(error)])
    with pytest.raises(type(error)):
        stream(files).read()
    assert len(files.requests) == 2


def test_a_body_without_ranges_is_read_once_and_cannot_be_read_at_an_offset() -> None:
    files = ScriptedFiles()
    opened = stream(files, has_ranges=False)
    assert not opened.seekable()
    with pytest.raises(io.UnsupportedOperation):
        opened.seek(10)
    assert opened.read(100_000) + opened.read() == DATA
    assert files.requests == [(0, len(DATA))]


def test_a_body_of_unknown_size_ends_with_its_answer() -> None:
    files = ScriptedFiles()
    opened = RemoteStream(files, RemoteFile("a", FileFacts(-1, 0), has_ranges=False), "https://h/a", heads=Heads())
    pieces = list(iter(lambda: opened.read(1_000_000), b""))
    assert b"".join(pieces) == DATA
    assert files.requests == [(0, -1)]


def test_a_body_without_ranges_is_requested_again_from_its_start() -> None:
    files = ScriptedFiles(scripts=[resets_after(123_456)])
    assert stream(files, has_ranges=False).read() == DATA
    assert files.requests == [(0, len(DATA))] * 2


def test_a_body_that_names_no_facts_is_not_joined_from_two_answers() -> None:
    files = ScriptedFiles(scripts=[resets_after(123_456)])
    file = RemoteFile("a", FileFacts(-1, 0), has_ranges=False)
    opened = RemoteStream(files, file, "https://h/a", heads=Heads(), policy=RetryPolicy(sleep=Waits()))
    with pytest.raises(SourceUnavailableError, match=r"was interrupted at byte 123,456: reset: its server neither"):
        opened.read(1_000_000)


def test_the_beginning_is_not_kept_without_a_change_id() -> None:
    files, heads = ScriptedFiles(), Heads()
    file = RemoteFile("a", FileFacts(len(DATA), 1))
    for _ in range(2):
        RemoteStream(files, file, "s3://b/a", heads=heads).read(10)
    assert files.requests == [(0, HEAD_BYTES)] * 2


def test_a_stream_holds_at_most_its_blocks() -> None:
    files = ScriptedFiles(data=bytes(60 << 20))
    opened = stream(files)
    for block in range(1, 60, 2):
        opened.seek((block << 20) + 5)
        opened.read(10)
    for block in range(58, 0, -2):
        opened.seek((block << 20) + 5)
        opened.read(10)
    assert sum(map(len, opened._blocks.values())) <= 32 << 20


def test_a_closed_stream_ends_its_request() -> None:
    ended: list[bool] = []

    class Watched(ScriptedFiles):
        def read(self, file: RemoteFile, start: int, stop: int) -> Iterator[bytes]:
            try:
                yield from super().read(file, start, stop)
            finally:
                ended.append(True)

    opened = stream(Watched())
    opened.read(HEAD_BYTES + 10)
    assert ended == [True]
    opened.close()
    assert ended == [True, True]
