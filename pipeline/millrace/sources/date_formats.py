"""Parsing of dates and times in a CSV by formats of ``strptime``. Each value fits the format exactly or is refused.

A pattern splits each text into its parts, and these are joined as ISO 8601. Arrow then parses and checks that text, so
31 February is refused and no digit is dropped. ``strptime`` of Python and of the C library is not used, because it is
slow or accepts 31 February as 3 March.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import Final

import pyarrow as pa
import pyarrow.compute as compute

from millrace.errors import InvalidSettingError
from millrace.sources.values import first_invalid

_MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_PIECES: Final = {
    "Y": r"\d{4}",
    "y": r"\d{2}",
    "m": r"\d{1,2}",
    "d": r"\d{1,2}",
    "b": "|".join(name[:3] for name in _MONTHS),
    "B": "|".join(_MONTHS),
    "H": r"\d{1,2}",
    "I": r"\d{1,2}",
    "M": r"\d{1,2}",
    "S": r"\d{1,2}",
    "f": r"\d{1,9}",
    "p": "am|pm",
    "z": r"Z|[+-]\d{2}:?\d{2}",
}
_DIGITS: Final = frozenset("YymdHIMSf")
_SHORT: Final = {"F": "%Y-%m-%d", "T": "%H:%M:%S", "R": "%H:%M", "D": "%m/%d/%y", "e": "%d"}
_TOKEN: Final = re.compile("%.?|.", re.DOTALL)
_DATE_SETS: Final = [{"Y", "y"}, {"m", "b", "B"}, {"d"}]
_NEEDS: Final = {"M": "HI", "S": "M", "f": "S", "p": "I", "I": "p", "z": "HI"}
_ZERO_DAY: Final = "1970-01-01 "
_PIVOT: Final = "69"
"""Two-digit years from here on are in the 20th century, those below in the 21st, as in POSIX."""


@dataclass(frozen=True, slots=True)
class DateFormat:
    """One format, with the pattern of a complete text that has a group for each directive."""

    text: str
    pattern: str
    directives: frozenset[str]

    @property
    def has_date(self) -> bool:
        """Return whether the format has a year, a month and a day."""
        return "d" in self.directives

    @property
    def has_time(self) -> bool:
        """Return whether the format has at least an hour."""
        return bool(self.directives & {"H", "I"})

    @property
    def type(self) -> pa.DataType:
        """Return ``date32``, a time or a timestamp: in seconds, or microseconds with ``%f``; in UTC with ``%z``."""
        fraction = "f" in self.directives
        if not self.has_time:
            return pa.date32()
        if not self.has_date:
            return pa.time64("us") if fraction else pa.time32("s")
        return pa.timestamp("us" if fraction else "s", "UTC" if "z" in self.directives else None)

    def as_iso(self, texts: pa.Array) -> pa.Array:
        """Return the texts as ISO 8601, with null for those that do not match the format.

        The values are not checked: a 31 February is returned as it is.
        """
        groups = compute.extract_regex(texts, self.pattern)
        fields = {directive: compute.struct_field(groups, directive) for directive in self.directives}
        parts = []
        if self.has_date:
            parts += [_year(fields), "-", _month(fields), "-", _two_digits(fields["d"])]
        if self.has_time:
            parts += [" " if self.has_date else _ZERO_DAY, _hour(fields), ":"]
            parts += [
                _two_digits(fields["M"]) if "M" in fields else "00",
                ":",
                _two_digits(fields["S"]) if "S" in fields else "00",
            ]
            parts += [".", fields["f"]] if "f" in fields else []
            parts += [fields["z"]] if "z" in fields else []
        return compute.binary_join_element_wise(*parts, "")


def parse_date_format(text: str) -> DateFormat:
    """Return the parsed format.

    Raises ``InvalidSettingError`` for an incomplete or contradictory format and for an unknown directive.
    """
    text = "".join(_SHORT.get(token[1:], token) for token in _TOKEN.findall(text))
    tokens = _TOKEN.findall(text)
    pattern, directives = "", []
    for before, token, after in zip(["", *tokens], tokens, [*tokens[1:], ""], strict=False):
        directive = token[1:]
        if token[0] != "%" or directive == "%":
            pattern += re.escape(token[-1])
            continue
        if directive not in _PIECES:
            names = ", ".join(f"%{name}" for name in [*_PIECES, *_SHORT, "%"])
            raise InvalidSettingError(f"the date format {text!r} has {token}", hint=f"use {names}")
        piece = _PIECES[directive]
        if before[1:] in _DIGITS or after[1:] in _DIGITS:
            # Next to another number, only a fixed number of digits is unambiguous.
            piece = piece.replace(r"\d{1,2}", r"\d{2}")
        pattern += f"(?P<{directive}>{piece})"
        directives.append(directive)
    _check_complete(text, directives)
    return DateFormat(text, f"^(?i:{pattern})$", frozenset(directives))


def _check_complete(text: str, directives: list[str]) -> None:
    """Raise ``InvalidSettingError`` unless the format has a complete date, a complete time or both."""
    parts = [len([directive for directive in directives if directive in group]) for group in _DATE_SETS]
    times = set(directives) & {"H", "I", "M", "S", "f", "p", "z"}
    problem = next(
        (f"%{part} without %{need[0]}" for part, need in _NEEDS.items() if part in times and not times & set(need)), ""
    )
    if len(set(directives)) < len(directives) or any(count > 1 for count in parts) or {"H", "I"} <= times:
        problem = "a part twice"
    elif any(parts) and not all(parts):
        problem = "an incomplete date: it needs a year, a month and a day"
    elif not directives:
        problem = "no directive"
    elif "z" in times and not all(parts):
        problem = "a zone without a date"
    if problem:
        raise InvalidSettingError(f"the date format {text!r} has {problem}", hint="give one like %d.%m.%Y %H:%M:%S")


class DateFormats:
    """The formats of one source; the first that matches a text parses it, and other texts are parsed as ISO 8601."""

    def __init__(self, texts: tuple[str, ...]) -> None:
        self._formats = tuple(parse_date_format(text) for text in texts)

    def reads(self, kind: pa.DataType) -> bool:
        """Return whether columns of this type are parsed with the formats."""
        return bool(self._formats) and pa.types.is_temporal(kind) and not pa.types.is_duration(kind)

    def read(self, texts: pa.Array, kind: pa.DataType) -> pa.Array:
        """Return the texts as values of a type; raises ``pa.ArrowInvalid`` if a text is not one."""
        iso = [format_.as_iso(texts) for format_ in self._formats]
        if pa.types.is_time(kind):
            times = compute.binary_join_element_wise(_ZERO_DAY, texts, "")
            return compute.cast(compute.cast(compute.coalesce(*iso, times), pa.timestamp(kind.unit)), kind)
        return compute.cast(compute.coalesce(*iso, texts), kind)

    def first_unlike(self, texts: pa.Array) -> int | None:
        """Return the number of the first text that is not a date of the format which most of the texts match.

        None if most texts match no format, or if the format parses all of them.
        """
        for format_ in self._formats:
            iso = format_.as_iso(texts)
            if 2 * (len(iso) - iso.null_count) <= len(texts) - texts.null_count:
                continue
            unlike = compute.and_(compute.is_null(iso), compute.is_valid(texts))
            shaped = compute.if_else(unlike, None, texts)
            try:
                self.read(shaped, format_.type)
            except pa.ArrowInvalid:
                return first_invalid(shaped, partial(self.read, kind=format_.type))
            first = compute.index(unlike, True).as_py()
            return None if first < 0 else int(first)
        return None

    def type_of(self, texts: pa.Array) -> pa.DataType | None:
        """Return the type of the first format that parses all texts, or None if no format does."""
        for format_ in self._formats:
            iso = format_.as_iso(texts)
            if iso.null_count > texts.null_count:
                continue
            try:
                self.read(texts, format_.type)
            except pa.ArrowInvalid:
                continue
            return format_.type
        return None


def _two_digits(texts: pa.Array) -> pa.Array:
    return compute.utf8_lpad(texts, 2, "0")


def _year(fields: dict[str, pa.Array]) -> pa.Array:
    if "Y" in fields:
        return fields["Y"]
    century = compute.if_else(compute.less(fields["y"], _PIVOT), "20", "19")
    return compute.binary_join_element_wise(century, fields["y"], "")


def _month(fields: dict[str, pa.Array]) -> pa.Array:
    if "m" in fields:
        return _two_digits(fields["m"])
    names = fields["b"] if "b" in fields else fields["B"]
    begin = compute.utf8_slice_codeunits(compute.utf8_lower(names), 0, 3)
    number = compute.index_in(begin, value_set=pa.array([name[:3] for name in _MONTHS]))
    return _two_digits(compute.cast(compute.add(number, 1), pa.string()))


def _hour(fields: dict[str, pa.Array]) -> pa.Array:
    if "H" in fields:
        return _two_digits(fields["H"])
    # Hour 12 is hour 0. A number outside of 1 to 12 becomes 99, which Arrow refuses.
    hour = compute.cast(fields["I"], pa.int32())
    first = compute.equal(hour, 12)
    is_hour = compute.and_(compute.greater_equal(hour, 1), compute.less_equal(hour, 12))
    hour = compute.if_else(is_hour, compute.if_else(first, 0, hour), 99)
    afternoon = compute.equal(compute.utf8_lower(fields["p"]), "pm")
    hour = compute.if_else(afternoon, compute.add(hour, 12), hour)
    return _two_digits(compute.cast(hour, pa.string()))
