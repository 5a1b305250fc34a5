"""The newest events of one attempt of a task, one for each source, and the attempt's state.

* A terminal state of an attempt that has begun is final. If the task and Airflow report different ones, the first one
  counts.
* An attempt has begun once its own reporter has sent an event, or Airflow has reported ``running`` or ``retrying``.
* Airflow may report an attempt that has not begun. Its event then has ``data.begun`` false, or a time before the
  attempt's start. This event is valid until Airflow reports another state or the attempt begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from millrace.progress.event import ATTEMPT_OVER, TERMINAL_STATES

BEGUN = frozenset({"running", "retrying"})
"""The states that Airflow reports only of an attempt that has begun."""
ProducerRole = Literal["reporter", "airflow", "curves"]


def producer_role(source: str) -> ProducerRole:
    """Return the role of a source: the reporter of the work, Airflow, or the curves of the work."""
    return "curves" if source.endswith("/curves") else "airflow" if source.endswith("/airflow") else "reporter"


@dataclass(slots=True)
class LatestEvent:
    """The newest event of one source. ``order`` numbers all applied events, so it shows which of two came first."""

    source: str
    sequence: str
    order: int
    data: dict[str, Any]
    time_s: float | None = None
    """The event's Unix time; ``None`` if the event has no valid time."""
    of_begun_attempt: bool = True
    """Whether the attempt was known to have begun when the event was applied."""
    superseded: bool = False
    """Whether this is Airflow's event about the time before the attempt began, and the attempt has begun since."""

    @property
    def state(self) -> str:
        """Return the state in this event; empty for curves."""
        return str(self.data.get("state", ""))


@dataclass(slots=True)
class Attempt:
    """The newest events of all sources of one attempt of a task."""

    number: int
    reporter: LatestEvent | None = None
    airflow: LatestEvent | None = None
    curves: LatestEvent | None = None
    begun: bool = False

    @property
    def resolved_state(self) -> tuple[str, LatestEvent | None]:
        """Return the attempt's state and the event that decides it.

        The first terminal state is final, from any source. A failed or cancelled attempt is ``retrying`` if Airflow
        reports that it will retry.
        """
        events = [event for event in (self.reporter, self.airflow) if event is not None and not event.superseded]
        terminal = [event for event in events if event.state in TERMINAL_STATES]
        retrying = next((event for event in events if event.state == "retrying"), None)
        if terminal:
            first = min(terminal, key=lambda event: event.order)
            # Airflow's retrying overrides the reporter's failed. Airflow's failed overrides the reporter's retrying.
            if first.state in ("failed", "cancelled") and retrying is not None and retrying is self.airflow:
                return "retrying", first
            return first.state, first
        decisive = retrying or next(iter(events), None)
        return (decisive.state, decisive) if decisive is not None else ("queued", None)

    @property
    def latest_events(self) -> list[LatestEvent]:
        """Return the newest event of each source that has sent one."""
        return [event for event in (self.reporter, self.airflow, self.curves) if event is not None]


def unix_s(text: Any) -> float | None:
    """Return the Unix time of an event's ``time``; ``None`` if it is not a valid time."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def store_latest(attempt: Attempt, role: ProducerRole, latest: LatestEvent) -> None:
    """Store the newest event of one source in its attempt."""
    before = attempt.airflow
    if role == "airflow":
        begun = latest.data.get("begun") is not False
        latest.of_begun_attempt = begun and (attempt.begun or latest.state in BEGUN)
        attempt.begun = attempt.begun or latest.of_begun_attempt
        latest.superseded = not begun and attempt.reporter is not None
    else:
        attempt.begun = True
        if role == "reporter" and attempt.reporter is None and before is not None and not before.of_begun_attempt:
            before.superseded = _precedes_start(before, latest)
    setattr(attempt, role, latest)


def _precedes_start(report: LatestEvent, first: LatestEvent) -> bool:
    """Return whether Airflow's event ``report`` is about the time before the attempt began.

    ``first`` is the first event of the attempt's reporter.
    """
    if report.data.get("begun") is False:
        return True
    if report.time_s is None or first.time_s is None:
        return report.state in ("cancelled", "skipped")
    began_s: float = first.time_s - first.data.get("elapsed_s", 0)
    return report.time_s < began_s


def is_late(before: LatestEvent, attempt: Attempt | None, data: dict[str, Any]) -> bool:
    """Return whether an event with ``data`` comes too late: after the final event ``before`` of the same source."""
    if before.state in TERMINAL_STATES:
        of_airflow = producer_role(before.source) == "airflow"
        return (
            not of_airflow
            or before.of_begun_attempt
            or (attempt is not None and attempt.begun and not before.superseded)
        )
    # After retrying only a terminal state is accepted: Airflow may find that no attempt is left.
    return before.state in ATTEMPT_OVER and data.get("state") not in TERMINAL_STATES
