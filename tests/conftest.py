"""Fixtures of all tests: settings for this test run, and real services for the tests that request them.

Without ``MILLRACE_HOME`` the run gets its own home and ports, which are removed when it ends. With it, or where the
address of a service is given (``MILLRACE_REDIS__URL``, ...), the tests use the running services and leave them running.
"""

from __future__ import annotations

import datetime
import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest
from hypothesis import settings as hypothesis_settings

from local_stack.settings import CHECKOUT, load_stack_settings
from local_stack.stack import Stack
from millrace.compat.kept import keep_until_process_ends
from millrace.errors import StackError

GIVEN_BY = {
    "cassandra": "MILLRACE_CASSANDRA__CONTACT_POINTS",
    "kafka": "MILLRACE_KAFKA__BOOTSTRAP_SERVERS",
    "redis": "MILLRACE_REDIS__URL",
    "airflow": "MILLRACE_AIRFLOW__URL",
    "bridge": "MILLRACE_BRIDGE__URL",
}
STORES = ("cassandra", "kafka", "redis")
OWNER = "owner.lock"
"""The file that a run locks in its home; the kernel releases the lock however the run ends."""
PORT_OFFSETS = range(10_000, 23_000, 100)
"""Offsets outside of the default ports and below the ports that the kernel assigns to outgoing connections."""

hypothesis_settings.register_profile(
    "millrace", deadline=None, derandomize="CI" in os.environ, print_blob=True, max_examples=100
)
hypothesis_settings.register_profile("full", parent=hypothesis_settings.get_profile("millrace"), max_examples=1000)
hypothesis_settings.load_profile("full" if "MILLRACE_TEST_FULL" in os.environ else "millrace")

_own_home = pytest.StashKey[Path]()
_owner = pytest.StashKey[IO[str]]()
_failed = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    """Set a home and ports for this run unless a home was given; no service is started yet."""
    # pydantic's time zones need it when they are freed, and CPython frees it first (pydantic issue 12867): a process
    # that has times of Airflow left at its end would die of SIGSEGV.
    keep_until_process_ends(datetime.datetime_CAPI)  # type: ignore[attr-defined]
    config.addinivalue_line("markers", "docker: needs a Docker engine; all other tests must run where CI is set")
    config.addinivalue_line("markers", "torch: needs the wheel of torch, and may be skipped like those for Docker")
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # A shell starts background jobs with SIGINT ignored, and child processes would inherit this: Ctrl-C is tested.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if "MILLRACE_HOME" in os.environ:
        return
    # SIGTERM (from a CI that gives up, or ``timeout``) ends the services of the run, too.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    base = CHECKOUT / ".millrace" / "tests"
    base.mkdir(parents=True, exist_ok=True)
    _end_abandoned_runs(base)
    home = Path(tempfile.mkdtemp(prefix="run-", dir=base))
    owner = (home / OWNER).open("w")
    fcntl.flock(owner, fcntl.LOCK_EX)
    os.environ["MILLRACE_HOME"] = str(home)
    os.environ["MILLRACE_STACK__PORT_OFFSET"] = str(_free_offset())
    config.stash[_own_home] = home
    config.stash[_owner] = owner


def _end_abandoned_runs(base: Path) -> None:
    """Stop the services of killed runs and delete their homes."""
    for home in base.glob("run-*"):
        try:
            with (home / OWNER).open() as owner:
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
                Stack(load_stack_settings().model_copy(update={"home": home}), say=lambda line: None).down()
                shutil.rmtree(home)
        except (FileNotFoundError, BlockingIOError):  # kept logs, or a running test run
            continue


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Record whether the run failed, so that the logs of its services are kept."""
    session.config.stash[_failed] = exitstatus != pytest.ExitCode.OK


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the services of the run and delete its home; after a failure the logs of the services are kept."""
    home = config.stash.get(_own_home, None)
    if home is not None:
        Stack(load_stack_settings(), say=lambda line: None).down()
        if config.stash.get(_failed, False) and (home / "logs").exists():
            kept = home.with_name(f"{home.name}-logs")
            (home / "logs").rename(kept)
            print(f"the logs of the services are kept in {kept}")
        shutil.rmtree(home)
        config.stash[_owner].close()
        del os.environ["MILLRACE_HOME"], os.environ["MILLRACE_STACK__PORT_OFFSET"]


def _free_offset() -> int:
    from local_stack.ports import require_free

    # Concurrent runs should not try the same ports first.
    first = os.getpid() % len(PORT_OFFSETS)
    for offset in (*PORT_OFFSETS[first:], *PORT_OFFSETS[:first]):
        os.environ["MILLRACE_STACK__PORT_OFFSET"] = str(offset)
        try:
            for service in Stack(load_stack_settings()).services():
                for port in service.ports():
                    require_free(port)
        except StackError:
            continue
        return offset
    raise StackError(f"no free ports for a test run between offsets {PORT_OFFSETS[0]} and {PORT_OFFSETS[-1]}")


@pytest.fixture(scope="session")
def services() -> Callable[..., Stack]:
    """Return a function that starts the named services once and returns their stack."""
    stack = Stack(load_stack_settings(), say=lambda line: None)
    ready: set[str] = set()

    def ensure(*names: str) -> Stack:
        missing = [name for name in names if name not in ready and GIVEN_BY.get(name, "") not in os.environ]
        if missing:
            stack.up(missing)
            ready.update(missing)
        return stack

    return ensure


@pytest.fixture(scope="session")
def stack(services: Callable[..., Stack]) -> Stack:
    """Return a stack with Cassandra, Kafka and Redis ready, and keyspace, tables and topic created."""
    return services(*STORES)


@pytest.fixture(scope="session")
def full_stack(services: Callable[..., Stack]) -> Stack:
    """Return a stack with all services ready."""
    return services(*STORES, "airflow", "bridge")


@pytest.fixture
def every_node(stack: Stack) -> Iterator[Stack]:
    """Yield the stack to a test that kills or freezes nodes; all nodes are up and ready before and after it."""
    stack.up(("cassandra",))
    yield stack
    for row in stack.status():
        if row["state"] == "frozen":
            stack.thaw(row["service"])
    stack.up(("cassandra",))
