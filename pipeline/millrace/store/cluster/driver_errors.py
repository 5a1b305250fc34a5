"""Translate the driver's errors into errors of the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cassandra import (
    InvalidRequest,
    OperationTimedOut,
    ReadTimeout,
    RequestExecutionException,
    Unauthorized,
    WriteTimeout,
)
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionBusy, ConnectionException
from cassandra.pool import Host, NoConnectionsAvailable
from cassandra.protocol import ErrorMessage, SyntaxException

from millrace.errors import StoreError, StoreTimeoutError, StoreUnavailableError

REFUSED = (InvalidRequest, Unauthorized, SyntaxException)
"""Errors that every node would return for the same request."""

_TIMED_OUT = (ReadTimeout, WriteTimeout, OperationTimedOut)
# The driver has no common base class for "this node did not execute the request". A connection that is reset during a
# request raises ConnectionShutdown, an overloaded or failing node returns an ErrorMessage, and neither is a
# DriverException.
_UNANSWERED = (
    NoHostAvailable,
    ConnectionException,
    ConnectionBusy,
    NoConnectionsAvailable,
    OperationTimedOut,
    RequestExecutionException,
    ErrorMessage,
)


def is_busy(error: Any) -> bool:
    """Return whether a request never left this process because its connection was full.

    That is back-pressure and does not mean that the node is lost.
    """
    causes = error.errors.values() if isinstance(error, NoHostAvailable) and isinstance(error.errors, dict) else [error]
    return any(isinstance(cause, ConnectionBusy) for cause in causes)


def node_error(error: Any) -> Any:
    """Return the error of the node itself: ``NoHostAvailable`` with one host wraps one cause."""
    if isinstance(error, NoHostAvailable) and isinstance(error.errors, dict) and error.errors:
        return next(iter(error.errors.values()))
    return error


@contextmanager
def translate_driver_errors(host: Host | None = None) -> Iterator[None]:
    """Raise the driver's errors as ``StoreTimeoutError``, ``StoreUnavailableError`` or ``StoreError``."""
    try:
        yield
    except (*_UNANSWERED, *REFUSED) as error:
        raise _translated(error, host) from None


def _translated(error: Exception, host: Host | None) -> StoreError:
    node = str(host.address) if host is not None else None
    cause = f"{type(error).__name__}: {first_cause(error)}"
    if isinstance(error, REFUSED):
        return StoreError(f"Cassandra refused a request ({cause})", hint="millrace doctor checks the setup", node=node)
    kind = StoreTimeoutError if isinstance(error, _TIMED_OUT) else StoreUnavailableError
    return kind(f"{node or 'Cassandra'} did not respond ({cause})", hint="see millrace doctor", node=node)


def first_cause(error: BaseException) -> str:
    """Return the error message of the first node, in one line of at most 200 characters."""
    causes = getattr(error, "errors", None)
    first = next(iter(causes.values()), error) if isinstance(causes, dict) else error
    return " ".join(str(first).split())[:200] or type(first).__name__
