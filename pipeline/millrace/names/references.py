"""Check names of datasets and tags, and parse the references that select a version."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from millrace.errors import InvalidNameError, InvalidSettingError

_DATASET = re.compile(r"[a-z][a-z0-9_]{0,47}")
_TAG = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_FULL = re.compile(r"([0-9]{1,9})-([0-9a-f]{6})")
_RUN_CHARACTERS_MAX = 250
_FRACTION = re.compile(r"[.,][0-9]")


@dataclass(frozen=True, slots=True)
class VersionSelector:
    """The part of a reference after ``@``. At most one field is set; none selects the latest version."""

    number: int | None = None
    full: tuple[int, str] | None = None
    tag: str | None = None
    as_of: datetime | None = None
    precision: timedelta = timedelta(0)
    """The span of time that ``as_of`` denotes: one second if it was given without a fraction."""

    def reaches(self, moment: datetime) -> bool:
        """Return whether ``moment`` is within the time that ``as_of`` denotes, or before it."""
        return self.as_of is not None and (moment <= self.as_of or moment - self.as_of < self.precision)

    def is_shown_as(self, moment: datetime) -> bool:
        """Return whether ``as_of`` is ``moment``, written in full or without the fraction of its second."""
        return self.as_of is not None and moment >= self.as_of and self.reaches(moment)

    def __str__(self) -> str:
        if self.full:
            return f"{self.full[0]}-{self.full[1]}"
        if self.number is not None:
            return str(self.number)
        if self.as_of is not None:
            return self.as_of.isoformat()
        return self.tag or "latest"


def check_dataset_name(name: str) -> str:
    """Return the name if it is ``[a-z][a-z0-9_]{0,47}``; raise ``InvalidNameError`` for anything else."""
    _require_text(name)
    if not _DATASET.fullmatch(name):
        raise InvalidNameError(
            f"{name!r} is not a dataset name",
            hint="use a lower-case letter, then up to 47 lower-case letters, digits or underscores",
            expected="[a-z][a-z0-9_]{0,47}",
            actual=name,
        )
    return name


def nearest(name: str, known: Iterable[str], *, at_most: int = 3) -> list[str]:
    """Return the names of ``known`` that a misspelled ``name`` may mean, nearest first; case is ignored."""
    lowered = {candidate.lower(): candidate for candidate in reversed(list(known))}
    return [lowered[match] for match in difflib.get_close_matches(name.lower(), list(lowered), n=at_most, cutoff=0.6)]


def check_tag(tag: str) -> str:
    """Return the tag if it is ``[a-z][a-z0-9_-]*`` and not ``latest``; raise ``InvalidNameError`` otherwise."""
    if tag == "latest" or not _TAG.fullmatch(tag):
        raise InvalidNameError(
            f"{tag!r} is not a tag",
            hint="use a lower-case letter, then up to 63 lower-case letters, digits, dashes or underscores; "
            "'latest' is taken",
            expected="[a-z][a-z0-9_-]*",
            actual=tag,
        )
    return tag


def _require_text(name: object) -> None:
    """Raise ``InvalidNameError`` unless the name is text.

    Programs without a type checker pass numbers, None and dataset objects, too.
    """
    if not isinstance(name, str):
        raise InvalidNameError(
            f"a dataset is named by text, as in 'flights' or 'flights@12', not by {type(name).__name__}",
            expected="str",
            actual=type(name).__name__,
        )


def new_run_id(dataset: str) -> str:
    """Return a new id for a run without a given one: ``flights-3fa9c1d2``."""
    return f"{dataset}-{uuid4().hex[:8]}"


def check_run(run: str) -> str:
    """Return the identity of a run if it has 1 to 250 characters; raise ``InvalidSettingError`` for any other."""
    if not 0 < len(run) <= _RUN_CHARACTERS_MAX:
        raise InvalidSettingError(
            f"the run's identity has {len(run)} characters", hint=f"use 1 to {_RUN_CHARACTERS_MAX}"
        )
    return run


def parse_reference(reference: str) -> tuple[str, VersionSelector]:
    """Return name and selector of ``NAME`` or ``NAME@VERSION``; raise ``InvalidNameError`` for anything else.

    VERSION is a number (``12``), a full version (``12-3fa9c1``), ``latest``, a tag, or a time in ISO 8601 (UTC if it
    has no offset). A time without a fraction denotes the whole second.
    """
    _require_text(reference)
    name, separator, selector = reference.partition("@")
    check_dataset_name(name)
    if not separator or selector == "latest":
        return name, VersionSelector()
    if full := _FULL.fullmatch(selector):
        return name, VersionSelector(full=(int(full[1]), full[2]))
    if selector.isascii() and selector.isdigit() and len(selector) < 10:
        return name, VersionSelector(number=int(selector))
    if _TAG.fullmatch(selector):
        return name, VersionSelector(tag=selector)
    try:
        moment = datetime.fromisoformat(selector.removesuffix(" UTC"))  # as millrace show prints it
    except ValueError:
        raise InvalidNameError(
            f"{reference!r} names no version",
            hint="give after @ a number (12), a full version (12-3fa9c1), latest, a tag, or a time (2026-11-22T10:00)",
            actual=selector,
        ) from None
    precision = timedelta(0) if _FRACTION.search(selector) else timedelta(seconds=1)
    return name, VersionSelector(as_of=moment if moment.tzinfo else moment.replace(tzinfo=UTC), precision=precision)
