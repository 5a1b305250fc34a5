"""Receive responses of several megabytes directly into a buffer of their size, and copy them once.

The driver collects received bytes in a growing buffer. It copies the 5 MB of a chunk four times before it returns a
row: from the socket's buffer, from the collected bytes, into its parser, and out of the parser. One thread does this
for all connections and holds the GIL meanwhile.
"""

from __future__ import annotations

import io
import ssl
import struct
from typing import Any, Final

from cassandra import ConsistencyLevel
from cassandra.cqltypes import BytesType
from cassandra.io import libevwrapper as libev
from cassandra.io.libevreactor import LibevConnection
from cassandra.protocol import RESULT_KIND_ROWS, ErrorMessage, ProtocolHandler, ResultMessage

NODE_LOCAL: Final = 11
"""Consistency level at which the coordinator uses its own data alone. The driver has no name for it but sends the
number."""

FRAME_BYTES_MIN: Final = 256 * 1024
"""Size of a frame below which the driver receives it unchanged."""

_KEPT_BYTES = 8 << 20
_METADATA_BYTES_MAX = 64 * 1024
_CELL_BYTES_MIN = 4096
"""Average bytes per cell below which the driver's compiled parser is used: with many small cells it is faster than this
module."""

_int = struct.Struct(">i").unpack_from


class LargeFrames(LibevConnection):  # type: ignore[misc]
    """Connection that receives the body of a large frame in place, and all other frames as the driver does.

    ``process_msg`` then gets a ``memoryview`` that is valid until it returns. The next large frame uses the same
    memory, of which a connection keeps at most 8 MB. Only for protocol versions without frame checksums (4 and lower).
    """

    _current_frame: Any
    _room: bytearray | None = None
    _body: memoryview | None = None
    _filled = 0

    def handle_read(self, watcher: Any, revents: int, errno: int | None = None) -> None:
        """Receive the available data; the event loop calls this when the socket is readable.

        Returns when no data is left, or after a large frame.
        """
        if self._is_checksumming_enabled or errno or revents & libev.EV_ERROR:
            super().handle_read(watcher, revents, errno)
            return
        try:
            while self.receive():
                pass
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError as error:
            self.defunct(error)

    def receive(self) -> bool:
        """Read once from the socket and return whether to read again now."""
        if self._body is not None:
            return self._receive_body(self._body)
        received = self._socket.recv(self.in_buffer_size)
        if not received:
            self.close()
            return False
        self._iobuf.write(received)
        self.process_io_buffer()
        frame = self._current_frame
        if frame is not None and frame.end_pos - frame.body_offset >= FRAME_BYTES_MIN:
            self._begin_body(frame)
            return True
        return len(received) == self.in_buffer_size and not self.is_closed

    def _begin_body(self, frame: Any) -> None:
        size = frame.end_pos - frame.body_offset
        if self._room is None or len(self._room) < size:
            self._room = bytearray(size)
        self._body = memoryview(self._room)[:size]
        if size > _KEPT_BYTES:
            self._room = None
        self._iobuf.seek(frame.body_offset)
        self._filled = self._iobuf.readinto(self._body)
        self._io_buffer.reset_io_buffer()

    def _receive_body(self, body: memoryview) -> bool:
        count = self._socket.recv_into(body[self._filled :])
        if not count:
            self.close()
            return False
        self._filled += count
        if self._filled < len(body):
            return True
        frame, self._current_frame, self._body = self._current_frame, None, None
        self.process_msg(frame, body)
        # The event loop does not see on the socket the data that TLS has already decrypted.
        return not self.is_closed and bool(getattr(self._socket, "pending", int)())


class LargeRows(ProtocolHandler):  # type: ignore[misc]
    """Protocol handler that decodes the same messages as the driver.

    The few large cells of a large frame are copied once each. Errors of requests at ``NODE_LOCAL`` name ``LOCAL_ONE``,
    because the driver fails to print a level without a name.
    """

    @classmethod
    def decode_message(
        cls,
        protocol_version: int,
        user_type_map: Any,
        stream_id: int,
        flags: int,
        opcode: int,
        body: Any,
        decompressor: Any,
        result_metadata: Any,
    ) -> Any:
        """Return the decoded message; ``body`` is bytes, or a memoryview that is invalid after the call."""
        if type(body) is memoryview:
            if not flags and opcode == ResultMessage.opcode and _int(body)[0] == RESULT_KIND_ROWS:
                message = cls._rows(protocol_version, user_type_map, body[4:], result_metadata)
                if message is not None:
                    message.stream_id = stream_id
                    message.trace_id = message.custom_payload = message.warnings = None
                    return message
            body = bytes(body)
        message = super().decode_message(
            protocol_version, user_type_map, stream_id, flags, opcode, body, decompressor, result_metadata
        )
        info = message.info if isinstance(message, ErrorMessage) else None
        if isinstance(info, dict) and info.get("consistency") == NODE_LOCAL:
            info["consistency"] = ConsistencyLevel.LOCAL_ONE
        return message

    @classmethod
    def _rows(cls, protocol_version: int, user_type_map: Any, body: memoryview, result_metadata: Any) -> Any:
        """Return the rows of a result, or None where the driver decodes them faster or has to decode them."""
        message = cls.message_types_by_opcode[ResultMessage.opcode](RESULT_KIND_ROWS)
        metadata = io.BytesIO(body[:_METADATA_BYTES_MAX])
        try:
            message.recv_results_metadata(metadata, user_type_map)
        except (struct.error, UnicodeDecodeError):
            return None
        columns = message.column_metadata or result_metadata
        at = metadata.tell()
        if at + 4 > _METADATA_BYTES_MAX:
            return None
        count = _int(body, at)[0]
        if count * len(columns) * _CELL_BYTES_MIN > len(body):
            return None
        at += 4
        message.column_names = [column[2] for column in columns]
        message.column_types = types = [column[3] for column in columns]
        message.parsed_rows = []
        for _ in range(count):
            row: list[Any] = []
            for type_ in types:
                size = _int(body, at)[0]
                at += 4
                if size < 0:
                    row.append(None)
                    continue
                cell = bytes(body[at : at + size])
                if len(cell) < size:
                    raise EOFError(f"a cell of {size} bytes ends behind its frame")
                at += size
                row.append(cell if type_ is BytesType else type_.from_binary(cell, protocol_version))
            message.parsed_rows.append(tuple(row))
        return message
