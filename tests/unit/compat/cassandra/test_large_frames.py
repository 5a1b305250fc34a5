"""Large responses: their frames and rows equal the driver's, however the bytes are split on arrival."""

from __future__ import annotations

import random
import select
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest
from cassandra.connection import _ConnectionIOBuffer
from cassandra.cqltypes import BytesType, Int32Type, UTF8Type, UUIDType
from cassandra.protocol import RESULT_KIND_ROWS, ErrorMessage, ProtocolHandler, ResultMessage
from hypothesis import given
from hypothesis import strategies as st

from millrace.compat.cassandra.large_frames import FRAME_BYTES_MIN, NODE_LOCAL, LargeFrames, LargeRows

TYPES = (Int32Type, BytesType, UTF8Type, UUIDType)
METADATA = [("ks", "chunks", f"c{index}", type_) for index, type_ in enumerate(TYPES)]


def frame(stream: int, body: bytes, opcode: int = ResultMessage.opcode) -> bytes:
    return struct.pack(">BBhBi", 0x84, 0, stream, opcode, len(body)) + body


def cell(value: bytes | None) -> bytes:
    return struct.pack(">i", -1) if value is None else struct.pack(">i", len(value)) + value


def rows_body(rows: Sequence[tuple[Any, ...]], *, described: bool = False) -> bytes:
    """Return a ROWS result as a node sends it, with column metadata or, as for prepared statements, without."""
    head = struct.pack(">ii", RESULT_KIND_ROWS, 1 if described else 4) + struct.pack(">i", len(TYPES))
    if described:
        head += b"".join(struct.pack(">h", len(name)) + name for name in (b"ks", b"chunks"))
        for index, code in enumerate((0x0009, 0x0003, 0x000D, 0x000C)):
            head += struct.pack(">h", 2) + f"c{index}".encode() + struct.pack(">h", code)
    body = [head, struct.pack(">i", len(rows))]
    for row in rows:
        for value, type_ in zip(row, TYPES, strict=True):
            body.append(cell(None if value is None else type_.serialize(value, 4)))
    return b"".join(body)


def decoded(handler: Any, body: Any, described: bool) -> Any:
    metadata = None if described else METADATA
    return handler.decode_message(4, {}, 7, 0, ResultMessage.opcode, body, None, metadata)


class Recorded(LargeFrames):
    """A connection on one end of a socket pair that records its messages and belongs to no event loop."""

    def __init__(self, own: socket.socket) -> None:
        self._io_buffer = _ConnectionIOBuffer(self)
        self._socket = own
        self.in_buffer_size = 64 * 1024
        self.frames: list[tuple[int, int, bytes]] = []
        self.in_place = 0
        self.ended: list[BaseException | None] = []

    def process_msg(self, header: Any, body: Any) -> None:
        self.in_place += type(body) is memoryview
        self.frames.append((header.stream, header.opcode, bytes(body)))

    def close(self) -> None:
        self.is_closed = True
        self.ended.append(None)

    def defunct(self, error: BaseException) -> None:
        self.is_closed = True
        self.ended.append(error)


@pytest.fixture
def ends() -> Iterator[tuple[Recorded, socket.socket]]:
    own, other = socket.socketpair()
    with own, other:
        own.setblocking(False)
        yield Recorded(own), other


def received(connection: Recorded, other: socket.socket, sent: bytes, sizes: Iterator[int]) -> None:
    """Send all of ``sent`` in pieces of these sizes; read, as the event loop does, while data is available."""
    view = memoryview(sent)
    while view:
        piece = view[: next(sizes)]
        while piece:
            count = other.send(piece[: 64 * 1024])
            piece, view = piece[count:], view[count:]
            for _ in range(100):
                before = (len(connection.frames), connection._filled, connection._iobuf.tell())
                connection.handle_read(None, 0)
                if (len(connection.frames), connection._filled, connection._iobuf.tell()) == before:
                    break


def test_frames_of_every_size_arrive_as_they_were_sent_however_they_are_cut(
    ends: tuple[Recorded, socket.socket],
) -> None:
    connection, other = ends
    chosen = random.Random(5)
    limits = [0, 1, FRAME_BYTES_MIN - 1, FRAME_BYTES_MIN, FRAME_BYTES_MIN + 1, 65_527, 65_536, 5_000_000, 9_000_000]
    sizes = [*limits, *(chosen.choice([3, 70_000, 300_000, 1_000_000]) for _ in range(40))]
    sent = [(stream, chosen.randbytes(size)) for stream, size in enumerate(sizes)]
    stream = b"".join(frame(*each) for each in sent)
    received(connection, other, stream, (chosen.choice([1, 7, 9, 4096, 65_536, 500_000]) for _ in iter(int, 1)))
    assert connection.frames == [(number, ResultMessage.opcode, body) for number, body in sent]
    assert connection.in_place == sum(size >= FRAME_BYTES_MIN for size in sizes)
    assert connection.ended == []


def test_the_memory_of_a_large_frame_is_reused_and_that_of_a_very_large_one_is_freed(
    ends: tuple[Recorded, socket.socket],
) -> None:
    connection, other = ends
    unlimited = iter(lambda: 1 << 30, 0)
    received(connection, other, frame(1, b"a" * 5_000_000), unlimited)
    room = connection._room
    received(connection, other, frame(2, b"b" * 4_000_000), unlimited)
    assert room is not None
    assert connection._room is room
    received(connection, other, frame(3, b"c" * 9_000_000), unlimited)
    assert connection._room is None
    assert [body[:1] * len(body) == body for _, _, body in connection.frames] == [True] * 3


@pytest.mark.parametrize("cut", [4, 9, 1000, FRAME_BYTES_MIN // 2])
def test_a_disconnect_in_the_middle_of_a_frame_closes_the_connection(
    ends: tuple[Recorded, socket.socket], cut: int
) -> None:
    connection, other = ends
    received(connection, other, frame(1, bytes(FRAME_BYTES_MIN))[:cut], iter(lambda: 1 << 30, 0))
    other.close()
    connection.handle_read(None, 0)
    assert connection.frames == []
    assert connection.ended == [None]


def test_a_broken_connection_reports_its_error(
    ends: tuple[Recorded, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    connection, _ = ends

    class Broken:
        def recv(self, size: int) -> bytes:
            raise ConnectionResetError(104, "reset")

    connection._socket = Broken()
    connection.handle_read(None, 0)
    assert [type(error) for error in connection.ended] == [ConnectionResetError]


ROW = st.tuples(
    st.none() | st.integers(-(2**31), 2**31 - 1),
    st.none() | st.binary(max_size=20),
    st.none() | st.text(max_size=5),
    st.none() | st.builds(uuid4),
)


@given(st.lists(ROW, max_size=4), st.lists(st.integers(60_000, 400_000), min_size=1, max_size=3), st.booleans())
def test_rows_equal_those_of_the_driver(small: list[tuple[Any, ...]], large: list[int], described: bool) -> None:
    rows = [*small, *((size, bytes([size % 251]) * size, "x", UUID(int=size)) for size in large)]
    body = rows_body(rows, described=described)
    theirs = decoded(ProtocolHandler, body, described)
    ours = decoded(LargeRows, memoryview(bytearray(body)), described)
    assert ours.parsed_rows == theirs.parsed_rows == rows
    assert (ours.column_names, ours.column_types) == (theirs.column_names, theirs.column_types)
    assert (ours.stream_id, ours.paging_state, ours.warnings) == (theirs.stream_id, theirs.paging_state, None)
    assert all(type(row[1]) in (bytes, type(None)) for row in ours.parsed_rows)


def test_rows_stay_valid_when_their_memory_is_reused_for_the_next_response() -> None:
    room = bytearray(rows_body([(1, b"a" * 300_000, "x", None)]))
    message = decoded(LargeRows, memoryview(room), described=False)
    room[:] = bytes(len(room))
    assert message.parsed_rows == [(1, b"a" * 300_000, "x", None)]


def test_a_cell_that_ends_after_its_frame_is_an_error() -> None:
    body = rows_body([(1, b"a" * 300_000, "x", None)])
    with pytest.raises(EOFError, match="300000 bytes"):
        decoded(LargeRows, memoryview(bytearray(body[:290_000])), described=False)


def test_data_already_decrypted_by_tls_is_read_before_the_loop_waits_for_more(
    ends: tuple[Recorded, socket.socket],
) -> None:
    connection, other = ends

    class Decrypted:
        """A socket that decrypts whole records, however few bytes are requested, as TLS does."""

        def __init__(self) -> None:
            self.decrypted = b""

        def pending(self) -> int:
            return len(self.decrypted)

        def recv(self, size: int) -> bytes:
            data = (self.decrypted or connection_end.recv(16_384))[:size]
            self.decrypted = self.decrypted[size:]
            return data

        def recv_into(self, room: memoryview) -> int:
            data = self.decrypted or connection_end.recv(16_384)
            room = room[: len(data)]
            room[:] = data[: len(room)]
            self.decrypted = data[len(room) :]
            return len(room)

    connection_end, connection._socket = connection._socket, Decrypted()
    sent = frame(1, bytes(FRAME_BYTES_MIN)) + frame(2, b"small")
    sender = threading.Thread(target=other.sendall, args=(sent,))
    sender.start()
    while not connection.frames:
        select.select([connection_end], [], [], 10)
        connection.handle_read(None, 0)
    sender.join(10)
    # The small frame came in the last record of the large one, so no data is left on the socket to wake the loop.
    assert [number for number, _, _ in connection.frames] == [1, 2]


def test_many_small_rows_are_left_to_the_driver() -> None:
    rows = [(number, b"x" * 20, "text", None) for number in range(20_000)]
    body = memoryview(bytearray(rows_body(rows)))
    assert LargeRows._rows(4, {}, body[4:], METADATA) is None
    assert decoded(LargeRows, body, described=False).parsed_rows == rows


def test_results_other_than_rows_and_malformed_ones_are_left_to_the_driver() -> None:
    body = struct.pack(">ih", 3, 5) + b"space"
    assert decoded(LargeRows, memoryview(bytearray(body)), described=False).new_keyspace == "space"
    cut = rows_body([], described=True)[:12] + struct.pack(">h", 30_000) + b"k" * 70_000
    assert LargeRows._rows(4, {}, memoryview(cut)[4:], METADATA) is None


def test_an_error_of_a_request_at_node_local_is_decoded() -> None:
    """The driver has no name for the level, and cannot make an error that prints it."""
    body = struct.pack(">ih4shiib", 0x1200, 4, b"late", NODE_LOCAL, 0, 1, 0)
    message = LargeRows.decode_message(4, {}, 1, 0, ErrorMessage.opcode, body, None, None)
    assert "LOCAL_ONE" in str(message.to_exception())
