"""Derive the last state and the error of an attempt from the exception that ended its ``with`` block."""

from __future__ import annotations

from typing import Final

from millrace.errors import LoadInterruptedError
from millrace.progress.values import short_text

_MESSAGE_MAX: Final = 500


def exit_state(
    kind: type[BaseException] | None, error: BaseException | None, skipped: bool, will_retry: bool
) -> tuple[str, dict[str, str] | None]:
    """Return the last state of an attempt, and its error, for the exception that ended its block."""
    code = getattr(error, "code", None)
    if kind is None or (issubclass(kind, SystemExit) and code in (None, 0)):
        return ("skipped" if skipped else "succeeded"), None
    facts = {"type": kind.__name__, "message": short_text(error if error is not None else "", _MESSAGE_MAX)}
    if issubclass(kind, SystemExit):
        facts["message"] = short_text(f"exit code {code}" if isinstance(code, int) else code, _MESSAGE_MAX)
        return ("cancelled" if code in (130, 143) else "failed"), facts
    if issubclass(kind, KeyboardInterrupt | GeneratorExit | LoadInterruptedError):
        facts["message"] = facts["message"] or "interrupted by the user"
        return "cancelled", facts
    if kind.__name__ == "AirflowSkipException":  # recognized by name, because Airflow is not imported here
        return "skipped", None
    return ("retrying" if will_retry else "failed"), facts
