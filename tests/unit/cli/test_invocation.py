"""Commands with a store: the store is open while the command runs, and closed at its end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import click
import pytest

from millrace.api import Store
from millrace.cli import main
from millrace.cli.app import COMMANDS
from millrace.cli.interrupts import Interrupts
from millrace.cli.invocation import Invocation, store_command
from millrace.errors import UsageError


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list to which the store adds ``open`` and ``closed``."""
    calls: list[str] = []

    @contextmanager
    def connect(_settings: Any) -> Iterator[Any]:
        calls.append("open")
        try:
            yield SimpleNamespace(name="the store")
        finally:
            calls.append("closed")

    monkeypatch.setattr(Store, "connect", connect)
    return calls


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Invocation], None]], None]:
    """Return a function that makes ``millrace try`` call the given function as a command with a store."""

    def install(body: Callable[[Invocation], None]) -> None:
        module = ModuleType("millrace_test_command")
        module.command = click.command()(store_command(body))  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "millrace_test_command", module)
        monkeypatch.setitem(COMMANDS, "try", "millrace_test_command")

    return install


@pytest.mark.parametrize(
    ("error", "code"), [(None, 0), (click.exceptions.Exit(1), 1), (UsageError("no"), 2), (ValueError("x"), 1)]
)
def test_the_store_is_open_while_the_command_runs_and_closed_afterwards(
    opened: list[str],
    command: Callable[[Callable[[Invocation], None]], None],
    capsys: pytest.CaptureFixture[str],
    error: Exception | None,
    code: int,
) -> None:
    def body(invocation: Invocation) -> None:
        opened.append(invocation.store.name)  # type: ignore[attr-defined]
        if error is not None:
            raise error

    command(body)
    assert main(["try"]) == code
    assert opened == ["open", "the store", "closed"]


def test_a_command_with_a_store_has_the_options_strict_and_json(
    command: Callable[[Callable[[Invocation], None]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(lambda _invocation: None)
    assert main(["try", "--help"]) == 0
    help_text = capsys.readouterr().out
    assert help_text.index("--strict") < help_text.index("--json")


def test_an_invocation_without_an_open_store_has_none() -> None:
    with pytest.raises(AssertionError, match="has not opened a store"):
        Invocation((), Interrupts()).store  # noqa: B018
