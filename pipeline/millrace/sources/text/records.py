"""Boundaries of CSV records: a vectorised scan that follows pyarrow's rules for quotes.

A quote opens a field only directly after a delimiter or a line end. In an open field a doubled quote is a quote, and
a single quote closes the field. After that, and anywhere else in a field, a quote is an ordinary character. So a
stray quote (``5" pipe``) does not make the rest of the file one field, as it would if quotes were merely counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_TAIL_BYTES = 65_536
_QUOTE, _FEED, _RETURN = 0x22, 0x0A, 0x0D


@dataclass(frozen=True, slots=True)
class QuoteScan:
    """The runs of adjacent quotes in a buffer that begins at a record's start.

    ``starts`` and ``ends`` are byte offsets (``ends`` exclusive). ``inside`` is true where the byte after a run is in
    an open quoted field, ``begins_inside`` where the buffer's first byte is.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    inside: NDArray[np.bool_]
    begins_inside: bool = False

    def outside_at(self, offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return for each offset, of a byte that is not a quote, whether it is outside of quoted fields."""
        if not len(self.starts):
            return np.full(len(offsets), not self.begins_inside)
        run = np.searchsorted(self.starts, offsets) - 1
        return np.where(run < 0, not self.begins_inside, ~self.inside[run])

    def opened_at(self) -> int:
        """Return the offset of the quote whose field is still open at the end of the buffer, or -1."""
        if not len(self.inside) or not self.inside[-1]:
            return -1
        closed = np.flatnonzero(~self.inside)
        return int(self.starts[closed[-1] + 1 if len(closed) else 0])


def scan_quotes(buffer: bytes, delimiter: str, *, inside: bool = False) -> QuoteScan | None:
    """Find the quotes of a buffer that begins at a record's start; return None when it has none.

    With ``inside`` the buffer begins in an open quoted field instead, directly after a line end.
    """
    if buffer.find(b'"') < 0 and not inside:
        return None
    data = np.frombuffer(buffer, dtype=np.uint8)
    quotes = np.flatnonzero(data == _QUOTE)
    if not len(quotes):
        return QuoteScan(quotes, quotes, np.empty(0, dtype=bool), inside)
    new_run = np.empty(len(quotes), dtype=bool)
    new_run[0] = True
    np.not_equal(quotes[1:], quotes[:-1] + 1, out=new_run[1:])
    first = np.flatnonzero(new_run)
    starts = quotes[first]
    lengths = np.diff(first, append=len(quotes))
    before = data[starts - 1]  # at offset 0 this wraps around, which is corrected two lines below
    opens = (before == ord(delimiter)) | (before == _FEED) | (before == _RETURN)
    opens[0] |= starts[0] == 0
    odd = (lengths & 1).astype(bool)
    # Effect of a run on "inside a quoted field": an even run changes nothing (it opens and closes, or is doubled
    # quotes, or is ordinary text). An odd run after a field's start flips it. Any other odd run can only close.
    flips = np.cumsum(opens & odd)
    last_close = np.maximum.accumulate(np.where(odd & ~opens, np.arange(len(starts)), -1))
    since = flips - np.where(last_close >= 0, flips[last_close], -int(inside))
    return QuoteScan(starts, starts + lengths, (since & 1).astype(bool), inside)


def is_inside_at(buffer: bytes, stop: int, delimiter: str) -> bool:
    """Return whether the byte ``stop``, which follows a line end, is in an open quoted field.

    The rule is that of ``scan_quotes``, in byte operations over the whole buffer. This runs at more than 1 GB/s for
    any number of quotes. An index of every quote runs at 0.05 GB/s when half of the bytes are quotes.
    """
    data = np.frombuffer(buffer, dtype=np.uint8, count=stop)
    quotes = data == _QUOTE
    starter = data == ord(delimiter)
    starter |= data == _FEED
    starter |= data == _RETURN
    doubled = quotes[1:] & quotes[:-1]
    closed, opened = -1, np.empty(0, dtype=np.int64)
    if doubled.any():
        quotes[1:] &= ~doubled
        quotes[:-1] &= ~doubled
        closed, opened = _long_runs(doubled, starter)
    # The remaining quotes have no neighbour: each opens a field, closes it, or is ordinary text.
    opens = quotes[1:] & starter[:-1]
    closes = quotes[1:] & ~starter[:-1]
    from_end = int(closes[::-1].argmax()) if len(closes) else 0
    if len(closes) and closes[len(closes) - 1 - from_end]:
        closed = max(closed, len(closes) - from_end)
    flips = int(np.count_nonzero(opens[max(closed, 0) :])) + int(np.count_nonzero(opened > closed))
    return bool((flips + (closed < 0 and bool(quotes[0]))) & 1)


def _long_runs(doubled: NDArray[np.bool_], starter: NDArray[np.bool_]) -> tuple[int, NDArray[np.int64]]:
    """Return, of runs of at least three quotes of odd length, the last one that can only close and all that may open.

    The values are byte offsets; -1 where no run can only close.
    """
    tripled = np.flatnonzero(doubled[1:] & doubled[:-1])
    if not len(tripled):
        return -1, tripled
    first = np.flatnonzero(np.diff(tripled, prepend=-2) != 1)
    odd = (np.diff(first, append=len(tripled)) & 1).astype(bool)
    starts = tripled[first][odd]
    opens = (starts == 0) | starter[starts - 1]
    only_close = starts[~opens]
    return int(only_close[-1]) if len(only_close) else -1, starts[opens]


def last_record_end(buffer: bytes, delimiter: str | None, *, final: bool = False) -> int:
    """Return the offset after the last line end outside quotes, 0 when there is none.

    With ``delimiter`` None quotes have no meaning. A line feed is preferred over a later carriage return alone. A
    carriage return as the very last byte counts only when ``final``, because a line feed may follow.
    """
    if delimiter is None or buffer.find(b'"') < 0:
        end = buffer.rfind(b"\n") + 1
        return end or _after_carriage_return(buffer, final)
    begin = buffer.find(b"\n", max(0, len(buffer) - _TAIL_BYTES)) + 1
    if begin:
        tail = buffer[begin:]
        inside = is_inside_at(buffer, begin, delimiter)
        ends = offsets_outside(tail, _FEED, scan_quotes(tail, delimiter, inside=inside))
        if len(ends):
            return begin + int(ends[-1]) + 1
        if not inside:
            return begin
    scan = scan_quotes(buffer, delimiter)
    ends = offsets_outside(buffer, _FEED, scan)
    if len(ends):
        return int(ends[-1]) + 1
    ends = record_ends(buffer, scan)
    if not final and len(ends) and ends[-1] == len(buffer):
        ends = ends[:-1]
    return int(ends[-1]) if len(ends) else 0


def offsets_outside(buffer: bytes, code: int, scan: QuoteScan | None) -> NDArray[np.int64]:
    """Return the offsets of the bytes with this code outside of quoted fields."""
    offsets = np.flatnonzero(np.frombuffer(buffer, dtype=np.uint8) == code)
    return offsets if scan is None else offsets[scan.outside_at(offsets)]


def _after_carriage_return(buffer: bytes, final: bool) -> int:
    offset = buffer.rfind(b"\r")
    if offset == len(buffer) - 1 and not final:
        offset = buffer.rfind(b"\r", 0, offset)
    return offset + 1


def record_ends(buffer: bytes, scan: QuoteScan | None) -> NDArray[np.int64]:
    """Return the offsets after every line end outside quotes (CR LF is one), ascending, without the buffer's end."""
    data = np.frombuffer(buffer, dtype=np.uint8)
    feeds = data == _FEED
    if b"\r" in buffer:
        returns = data == _RETURN
        returns[:-1] &= ~feeds[1:]
        feeds = feeds | returns
    ends = np.flatnonzero(feeds)
    if scan is not None:
        ends = ends[scan.outside_at(ends)]
    return ends + 1


def record_starts(buffer: bytes, scan: QuoteScan | None) -> NDArray[np.int64]:
    """Return the offsets at which the records of a buffer begin, without blank lines, which pyarrow skips."""
    starts: NDArray[np.int64] = np.concatenate([[0], record_ends(buffer, scan)])
    starts = starts[starts < len(buffer)]
    data = np.frombuffer(buffer, dtype=np.uint8)
    full: NDArray[np.bool_] = (data[starts] != _FEED) & (data[starts] != _RETURN)
    return starts[full]


def first_record_end(buffer: bytes, delimiter: str, *, final: bool) -> int:
    """Return the offset after the first record that is not a blank line and its line end, 0 when it is incomplete."""
    scan = scan_quotes(buffer, delimiter)
    starts = record_starts(buffer, scan)
    if not len(starts):
        return 0
    ends = record_ends(buffer, scan)
    ends = ends[ends > starts[0]]
    if len(ends) and (final or ends[0] < len(buffer) or buffer[-1:] == b"\n"):
        return int(ends[0])
    return len(buffer) if final else 0


def count_lines(buffer: bytes) -> int:
    """Return the number of line ends in a buffer: LF, CR LF and CR alone each count once."""
    data = np.frombuffer(buffer, dtype=np.uint8)
    count = int(np.count_nonzero(data == _FEED))
    if b"\r" in buffer:
        count += buffer.count(b"\r") - buffer.count(b"\r\n")
    return count
