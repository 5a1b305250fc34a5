"""Only transient errors are retried."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import RetryAction
from airflow.sdk.exceptions import AirflowFailException

from millrace import errors
from millrace.airflow.retry import RetriableErrors, names_retriable_error, will_retry

PASSING = [errors.StoreUnavailableError("x"), errors.StoreTimeoutError("x"), errors.ChunkMissingError("x")]
LASTING = [
    errors.SourceTypeError("x"),
    errors.InvalidSettingError("x"),
    errors.ChecksumMismatchError("x"),
    ValueError("x"),
    OSError("x"),
]


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
def test_a_transient_error_is_retried_with_growing_delays(error: Exception) -> None:
    policy = RetriableErrors(first_delay_s=10, max_delay_s=60)
    decisions = [policy.evaluate(error, try_number=attempt, max_tries=9) for attempt in (1, 2, 3, 4)]
    assert all(decision.action is RetryAction.RETRY for decision in decisions)
    assert [decision.retry_delay for decision in decisions] == [timedelta(seconds=s) for s in (10, 20, 40, 60)]
    assert type(error).__name__ in (decisions[0].reason or "")


@pytest.mark.parametrize("error", LASTING, ids=lambda error: type(error).__name__)
def test_any_other_error_fails_at_once(error: Exception) -> None:
    assert RetriableErrors().evaluate(error, try_number=1, max_tries=9).action is RetryAction.FAIL


def test_the_policy_is_unchanged_by_serialization() -> None:
    policy = RetriableErrors.deserialize(RetriableErrors(first_delay_s=1, max_delay_s=2).serialize())
    assert (policy.first_delay_s, policy.max_delay_s) == (1, 2)


def attempt(number: int, max_tries: int, policy: Any) -> Any:
    return SimpleNamespace(try_number=number, max_tries=max_tries, task=SimpleNamespace(retry_policy=policy))


def test_will_retry_is_true_only_if_an_attempt_is_left_and_the_policy_retries() -> None:
    policy = RetriableErrors()
    assert will_retry(attempt(1, 2, policy), PASSING[0])
    assert will_retry(attempt(2, 2, policy), PASSING[0])
    assert not will_retry(attempt(3, 2, policy), PASSING[0])
    assert not will_retry(attempt(1, 0, policy), PASSING[0])
    assert not will_retry(attempt(1, 2, policy), LASTING[0])
    assert will_retry(attempt(1, 2, None), LASTING[0])
    assert not will_retry(attempt(1, 2, None), AirflowFailException("x"))


def test_a_problem_of_a_verification_may_be_gone_later_only_if_its_error_is_retriable() -> None:
    assert all(names_retriable_error({"error": type(error).__name__}) for error in PASSING)
    assert not any(names_retriable_error({"error": type(error).__name__}) for error in LASTING)
    assert not names_retriable_error({"error": "MissingRow"})
