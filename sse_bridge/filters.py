"""The filters of a request, which select events on the server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple

from millrace.errors import UsageError

OTHER_PARAMETERS = ("last_event_id", "lastEventId", "until", "quiet_s")


class Labels(NamedTuple):
    """The values of an event that filters compare. ``map_index`` is text, as in an address."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: str
    dataset: str
    kind: str


@dataclass(frozen=True, slots=True)
class Filter:
    """For each label the values that pass; an empty set lets every value pass."""

    dag_id: frozenset[str] = frozenset()
    run_id: frozenset[str] = frozenset()
    task_id: frozenset[str] = frozenset()
    map_index: frozenset[str] = frozenset()
    dataset: frozenset[str] = frozenset()
    kind: frozenset[str] = frozenset()

    def passes(self, labels: Labels) -> bool:
        """Return whether an event with these labels passes."""
        return (
            (not self.run_id or labels.run_id in self.run_id)
            and (not self.dag_id or labels.dag_id in self.dag_id)
            and (not self.task_id or labels.task_id in self.task_id)
            and (not self.map_index or labels.map_index in self.map_index)
            and (not self.dataset or labels.dataset in self.dataset)
            and (not self.kind or labels.kind in self.kind)
        )

    @property
    def everything(self) -> bool:
        """Return whether every event passes."""
        return self == _EVERYTHING

    @property
    def run(self) -> tuple[str, str] | None:
        """Return the run that passes, if the filter names exactly one DAG and one run; else ``None``."""
        if len(self.dag_id) == 1 and len(self.run_id) == 1:
            return next(iter(self.dag_id)), next(iter(self.run_id))
        return None


_EVERYTHING = Filter()
_NAMES = tuple(each.name for each in fields(Filter))


def parse_filter(arguments: Mapping[str, list[str]]) -> Filter:
    """Return the filter of a query string; a name given twice lets either value pass.

    Raises ``UsageError`` for an unknown name: ignoring a misspelt filter would show everything.
    """
    unknown = sorted(set(arguments) - {*_NAMES, *OTHER_PARAMETERS})
    if unknown:
        raise UsageError(f"unknown filter {unknown[0][:80]!r}", hint=f"the filters are {', '.join(_NAMES)}")
    return Filter(**{name: frozenset(arguments.get(name, ())) for name in _NAMES})
