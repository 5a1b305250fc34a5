"""The retry policy of tasks: only errors that are marked as retriable are retried."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk import RetryPolicy
from airflow.sdk.definitions.retry_policy import RetryDecision
from airflow.sdk.exceptions import AirflowFailException

from millrace import errors


class RetriableErrors(RetryPolicy):
    """A policy that retries errors with ``MillraceError.retriable``, each time after twice the delay.

    The delay is ``first_delay_s`` after the first attempt and at most ``max_delay_s``. All other errors fail at once,
    because a later attempt would fail, too. The policy is not called for a task whose process was killed. Airflow
    itself retries such a task up to ``retries`` times.
    """

    def __init__(self, first_delay_s: float = 10.0, max_delay_s: float = 300.0) -> None:
        self.first_delay_s = first_delay_s
        self.max_delay_s = max_delay_s

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int, context: Any = None) -> RetryDecision:
        """Decide whether to retry after ``exception``. Airflow calls this in the task's own process."""
        name = type(exception).__name__
        if not _is_retriable(exception):
            return RetryDecision.fail(reason=f"{name} is not retriable")
        delay_s = min(self.max_delay_s, self.first_delay_s * 2 ** max(0, try_number - 1))
        return RetryDecision.retry(delay=timedelta(seconds=delay_s), reason=f"{name} is retriable")

    def serialize(self) -> dict[str, Any]:
        """Return the constructor arguments as JSON values."""
        return {"first_delay_s": self.first_delay_s, "max_delay_s": self.max_delay_s}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> RetriableErrors:
        """Return the policy with arguments from ``serialize``."""
        return cls(**data)


def task_defaults(owner: str = "millrace") -> dict[str, Any]:
    """Return the ``default_args`` of a DAG: retries of retriable errors, and a deadline."""
    return {
        "owner": owner,
        "retries": 3,
        "retry_policy": RetriableErrors(),
        # For a killed process: Airflow does not call the retry policy then.
        "retry_delay": timedelta(seconds=30),
        "execution_timeout": timedelta(hours=12),
    }


def will_retry(task_instance: Any, error: BaseException) -> bool:
    """Return whether Airflow will make another attempt after this error, by the same rule that Airflow applies."""
    if isinstance(error, AirflowFailException):
        return False
    left = 0 < task_instance.try_number <= (task_instance.max_tries or 0)
    policy = getattr(task_instance.task, "retry_policy", None)
    return left and (policy is None or _is_retriable(error))


def names_retriable_error(problem: Mapping[str, Any]) -> bool:
    """Return whether a problem found by a verification may be gone at the next attempt, as an unresponsive node is."""
    return bool(getattr(getattr(errors, problem["error"], None), "retriable", False))


def _is_retriable(error: BaseException) -> bool:
    return isinstance(error, errors.MillraceError) and error.retriable
