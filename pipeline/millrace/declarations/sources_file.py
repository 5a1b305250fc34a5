"""The file of declared sources, and the mistakes that only several of its entries together show."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from millrace.declarations.cycles import cycle_problem
from millrace.declarations.document import CrossFault, Declarations, Section, read_declarations
from millrace.declarations.error_text import wrong_value
from millrace.declarations.source_entry import SCHEDULES, SourceEntry
from millrace.settings import Settings, default_sources_file
from millrace.sources import named_format, options_of_others

RESERVED_NAMES = frozenset({"dataset"})
"""The DAG of an entry is ``ingest_NAME``, and ``ingest_dataset`` exists."""


def sources_path(settings: Settings) -> Path:
    """Return the path of the declared sources: the setting ``sources.file``, or its default."""
    return Path(settings.sources.file).expanduser() if settings.sources.file else default_sources_file()


def read_sources(path: Path) -> Declarations[SourceEntry]:
    """Return the declared sources of a file, and all errors in it."""
    return read_declarations(path, SOURCES)


def _applicable(values: Mapping[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Return the defaults without the options that the format of an entry does not have.

    The format is the field of the entry or of the defaults, else the one that the endings of all URIs denote.
    """
    uris, name = values.get("uri"), values.get("format", defaults.get("format"))
    uris = [uris] if isinstance(uris, str) else uris
    if name is None and isinstance(uris, list) and all(isinstance(uri, str) for uri in uris):
        name = named_format([re.split("[?#]", uri)[0] if uri.startswith("https:") else uri for uri in uris])
    others = options_of_others(name) if isinstance(name, str) else frozenset()
    return {option: value for option, value in defaults.items() if option not in others}


def _check_entries(entries: Mapping[str, SourceEntry]) -> list[CrossFault]:
    """Return the entries that contradict earlier ones of the file, which stay usable."""
    accepted: dict[str, SourceEntry] = {}
    faults = []
    for name, entry in entries.items():
        fault = _contract_fault(name, entry, accepted) or _cycle_fault(name, {**accepted, name: entry})
        if fault:
            faults.append(fault)
        else:
            accepted[name] = entry
    return faults


def _contract_fault(name: str, entry: SourceEntry, others: Mapping[str, SourceEntry]) -> CrossFault | None:
    for other_name, other in others.items():
        if other.dataset == entry.dataset and other.contract != entry.contract:
            hint = f"entries of one dataset have one contract; {other_name} loads {entry.dataset}, too"
            return CrossFault(name, "contract", wrong_value(entry.contract.model_dump(), hint))
    return None


def _cycle_fault(name: str, entries: Mapping[str, SourceEntry]) -> CrossFault | None:
    """Return the fault if the last entry makes a cycle; an arrow leads to the dataset that is loaded after it."""
    arrows = [(entry.dataset, entry.after or ()) for entry in entries.values()]
    problem = cycle_problem(arrows)
    return CrossFault(name, "after", problem) if problem else None


SOURCES = Section("sources", SourceEntry, RESERVED_NAMES, SCHEDULES, _applicable, _check_entries)
