"""Format sizes and durations as commands and reports print them."""

from __future__ import annotations

_UNITS = ("kB", "MB", "GB", "TB", "PB")


def human_bytes(count: float) -> str:
    """Return a size like ``31.2 MB``: decimal units, three digits."""
    if abs(count) < 1000:
        return f"{count:.0f} B"
    for unit in _UNITS:
        count /= 1000
        if abs(count) < 999.5 or unit == _UNITS[-1]:
            break
    return f"{count:.{2 if abs(count) < 9.995 else 1 if abs(count) < 99.95 else 0}f} {unit}"


def human_seconds(seconds: float) -> str:
    """Return a duration like ``0.42 s``, ``12.3 s``, ``2:05`` or ``1:02:05``."""
    if seconds < 59.95:
        return f"{seconds:.{2 if seconds < 10 else 1}f} s"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
