"""A parser of event streams, written line by line from section 9.2.6 of the WHATWG HTML standard alone."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Message:
    type: str
    data: str
    last_event_id: str


@dataclass
class EventStreamParser:
    """An event stream parser, fed with bytes in any pieces; ``messages`` are those that an EventSource would fire."""

    messages: list[Message] = field(default_factory=list)
    last_event_id: str = ""
    reconnection_time_ms: int | None = None
    comments: int = 0
    _bytes: bytes = b""
    _started: bool = False
    _data: str = ""
    _type: str = ""
    _id: str = ""

    def feed(self, piece: bytes) -> None:
        self._bytes += piece
        if not self._started and len(self._bytes) >= 3:
            self._bytes = self._bytes.removeprefix(b"\xef\xbb\xbf")
            self._started = True
        while (line := self._line()) is not None:
            self._process(line.decode("utf-8", "replace"))

    def _line(self) -> bytes | None:
        """Return the next complete line, ended by CRLF, LF or CR; a CR at the end of the input may become CRLF."""
        for index, byte in enumerate(self._bytes):
            if byte == 0x0A:
                line, self._bytes = self._bytes[:index], self._bytes[index + 1 :]
                return line
            if byte == 0x0D:
                if index + 1 == len(self._bytes):
                    return None
                skip = 2 if self._bytes[index + 1] == 0x0A else 1
                line, self._bytes = self._bytes[:index], self._bytes[index + skip :]
                return line
        return None

    def _process(self, line: str) -> None:
        if line == "":
            self._dispatch()
        elif line.startswith(":"):
            self.comments += 1
        elif ":" in line:
            name, _, value = line.partition(":")
            self._field(name, value.removeprefix(" "))
        else:
            self._field(line, "")

    def _field(self, name: str, value: str) -> None:
        if name == "event":
            self._type = value
        elif name == "data":
            self._data += value + "\n"
        elif name == "id":
            if "\0" not in value:
                self._id = value
        elif name == "retry" and value and all(c in "0123456789" for c in value):
            self.reconnection_time_ms = int(value)

    def _dispatch(self) -> None:
        self.last_event_id = self._id
        if self._data == "":
            self._type = ""
            return
        self.messages.append(Message(self._type or "message", self._data.removesuffix("\n"), self.last_event_id))
        self._data = self._type = ""
