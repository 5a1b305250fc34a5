"""Format amounts and times for users; ``sse_bridge/static/formatting.js`` follows the same rules."""

from __future__ import annotations

import math
from decimal import Decimal

_SIZES = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
_GROUPED_MAX = 1e15


def amount(value: float | None, unit: str = "") -> str:
    """Format a number for users: ``336,776``; bytes as ``12.3 MB``; from 10^15 on as ``1.7e+300``."""
    if value is None:
        return ""
    value = float(value) + 0.0  # turns minus zero into zero
    if unit == "bytes":
        name, size = next((each for each in _SIZES if value >= each[1]), ("B", 1.0))
        return f"{_grouped(value / size, 0 if size == 1.0 else 1)} {name}"
    return _grouped(value, 0 if value >= 100 or value.is_integer() else 1)


def _grouped(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}" if value < _GROUPED_MAX else f"{value:.1e}"


def significant(value: float | None) -> str:
    """Format a measured number with four significant digits: ``0.3127``, ``12,350``, ``1.0e-7``."""
    if value is None or not math.isfinite(value):
        return "not a number"
    if value and not 1e-6 <= abs(value) < _GROUPED_MAX:
        digits, _, exponent = f"{value:.1e}".partition("e")
        return f"{digits}e{int(exponent):+d}"
    return f"{Decimal(f'{value + 0.0:.4g}'):,f}"


def duration(seconds: float | None) -> str:
    """Format a duration: ``7 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds is None:
        return ""
    whole = int(min(max(seconds, 0), 1e9))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def counted(done: float, total: float | None, unit: str) -> str:
    """Format the amount done, the total if known, and the unit: ``50.3 MB of 154.0 MB``, ``12 of 40 chunks``."""
    of = f" of {amount(total, unit)}" if total else ""
    return f"{amount(done, unit)}{of}" + (f" {unit}" if unit and unit != "bytes" else "")


def clean(text: str) -> str:
    """Replace every lone surrogate in the text: JSON may contain one, UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")
