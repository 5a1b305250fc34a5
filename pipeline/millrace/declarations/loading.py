"""The load of a declared source: its source at a time, and its options."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from millrace.declarations.document import found
from millrace.declarations.option_fields import STORAGE_OPTIONS
from millrace.declarations.sources_file import read_sources, sources_path
from millrace.declarations.uri_dates import render_dates
from millrace.sources import allowed_roots

if TYPE_CHECKING:
    from millrace.declarations.source_entry import SourceEntry
    from millrace.load import LoadOptions
    from millrace.settings import Settings

_SIZES: Final = ("infer_bytes", "max_unit_bytes", "split_bytes", "max_splits")
"""Options of a source whose defaults are settings."""


@dataclass(frozen=True, slots=True)
class DeclaredLoad:
    """The arguments of the load of an entry."""

    dataset: str
    source: str | tuple[str, ...]
    options: LoadOptions
    warm: bool


def find_source(name: str, settings: Settings) -> SourceEntry:
    """Return the declared source with this name.

    Raises ``UsageError`` with the nearest names if there is none, and ``DeclarationError`` with its errors if it is
    broken or if the file is.
    """
    declared = read_sources(sources_path(settings))
    return found(name, declared, "source", hint="millrace sources lists the declared sources")


def declared_load(
    entry: SourceEntry, settings: Settings, *, logical_date: datetime | None = None, force: bool = False
) -> DeclaredLoad:
    """Return the load of an entry at a time, by default now. With ``force`` an unchanged source is loaded again.

    Raises ``MillraceError`` for a source that may not be loaded or does not exist.
    """
    from millrace.sources import allowed_source

    when, roots = logical_date or datetime.now(UTC), allowed_roots(settings)
    uris = [render_dates(uri, when, entry.timezone) for uri in entry.uri]
    source = tuple(allowed_source(uri, roots, settings.sources) for uri in uris)
    options = load_options(entry, settings, force=force)
    return DeclaredLoad(entry.dataset, source[0] if len(source) == 1 else source, options, entry.warm)


def load_options(entry: SourceEntry, settings: Settings, *, force: bool = False) -> LoadOptions:
    """Return the options of an entry; the settings give those that it does not have."""
    from millrace.load import LoadOptions
    from millrace.sources import allowed_source, local_path

    given = entry.source_options()
    sizes = {name: getattr(settings.load, name) for name in _SIZES if getattr(entry, name) is None}
    roots = allowed_roots(settings)
    schema_file = given.schema_file and local_path(allowed_source(given.schema_file, roots, settings.sources))
    return LoadOptions(
        mode=entry.mode,
        source=replace(given, schema_file=schema_file, **sizes),
        bad_rows=entry.max_bad_rows,
        contract=entry.contract.contract,
        on_change=entry.on_change,
        skip_unchanged=not force,
        max_files=entry.max_files,
        max_bytes=entry.max_bytes,
        roots=tuple(roots),
        **{name: getattr(entry, name) for name in STORAGE_OPTIONS},
    )


def local_time(time: datetime, timezone: str) -> datetime:
    """Return a time without a timezone as one in the timezone of an entry."""
    return time.replace(tzinfo=ZoneInfo(timezone))
