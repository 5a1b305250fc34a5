"""Which failures of a task are worth another attempt: those that say so of themselves."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import RetryPolicy
from airflow.sdk.definitions.retry_policy import RetryDecision
from airflow.sdk.exceptions import AirflowFailException

from millrace.errors import MillraceError

__all__ = ["RetriableErrors", "will_retry"]


class RetriableErrors(RetryPolicy):
    """Retries what ``MillraceError.retriable`` says may succeed later, each time after twice the delay.

    Everything else fails at once: a wrong source is as wrong in an hour. A task whose process was killed never
    gets here: Airflow itself tries it again as long as ``retries`` allows.
    """

    def __init__(self, first_delay_s: float = 10.0, max_delay_s: float = 300.0) -> None:
        self.first_delay_s = first_delay_s
        self.max_delay_s = max_delay_s

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int, context: Any = None) -> RetryDecision:
        """Called by Airflow in the task's own process."""
        name = type(exception).__name__
        if not _is_retriable(exception):
            return RetryDecision.fail(reason=f"{name} does not pass by itself")
        delay_s = min(self.max_delay_s, self.first_delay_s * 2 ** max(0, try_number - 1))
        return RetryDecision.retry(delay=timedelta(seconds=delay_s), reason=f"{name} may pass")

    def serialize(self) -> dict[str, Any]:
        """The arguments as JSON."""
        return {"first_delay_s": self.first_delay_s, "max_delay_s": self.max_delay_s}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> RetriableErrors:
        """The inverse of ``serialize``."""
        return cls(**data)


def will_retry(task_instance: Any, error: BaseException) -> bool:
    """Whether Airflow will make another attempt after this error, by the rule it will apply itself."""
    if isinstance(error, AirflowFailException):
        return False
    left = 0 < task_instance.try_number <= (task_instance.max_tries or 0)
    policy = getattr(task_instance.task, "retry_policy", None)
    return left and (policy is None or _is_retriable(error))


def _is_retriable(error: BaseException) -> bool:
    return isinstance(error, MillraceError) and error.retriable
