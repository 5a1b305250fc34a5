"""State of one call of ``millrace``: its common options, its store, and the facts that decide its exit code."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from millrace.cli.interrupts import Interrupts
from millrace.cli.output import print_json, warn
from millrace.errors import CacheError

if TYPE_CHECKING:
    from millrace.api import Store
    from millrace.cache import ChunkCache
    from millrace.settings import Settings


@dataclass(slots=True)
class Invocation:
    """State of one call of ``millrace``.

    ``argv`` holds the arguments after ``millrace``; options and the command itself set the other fields.
    """

    argv: tuple[str, ...]
    interrupts: Interrupts
    json: bool = False
    strict: bool = False
    debug: bool = False
    degraded: bool = False
    opened_store: Store | None = None
    """The store of a command that has opened one; a catalogue that was read with a node down counts as degraded."""
    _printed_warnings: set[str] = field(default_factory=set)

    @property
    def store(self) -> Store:
        """Return the open store; raise ``AssertionError`` if the command has not opened one."""
        if self.opened_store is None:
            raise AssertionError("the command has not opened a store")
        return self.opened_store

    def note_degraded(self, reason: str) -> None:
        """Mark the call as degraded and warn once.

        The work is done, but some data is on one node only or was read with a node down.
        """
        self.degraded = True
        self.warn_once(reason)

    def warn_once(self, text: str) -> None:
        """Print a warning on standard error, once for each text."""
        if text not in self._printed_warnings:
            self._printed_warnings.add(text)
            warn(text)

    def answer(self, facts: dict[str, Any], show: Callable[[], None]) -> None:
        """Print the result: ``facts`` as JSON (with ``degraded``), or the output of ``show`` as text."""
        if self.opened_store is not None and (reader := self.opened_store.catalogue.reader).was_degraded:
            self.note_degraded(reader.degraded_warning)
        if self.json:
            print_json({**facts, "degraded": self.degraded or bool(facts.get("degraded"))})
        else:
            show()

    def command_with(self, *options: str) -> str:
        """Return this call with options added, as it is typed in a shell."""
        return shlex.join(["millrace", *self.argv, *options])


pass_invocation = click.make_pass_decorator(Invocation)


def _flag(name: str, help_text: str) -> Callable[[Any], Any]:
    """Return an option without a value that sets the field ``name`` of the invocation."""

    def set_field(context: click.Context, _parameter: click.Parameter, is_given: bool) -> None:
        invocation = context.find_object(Invocation)
        if invocation is not None and is_given:
            setattr(invocation, name, True)

    return click.option(f"--{name}", is_flag=True, expose_value=False, callback=set_field, help=help_text)


json_option = _flag("json", "Print the result as one JSON document; errors too.")
strict_option = _flag(
    "strict", "End with exit code 3 when the work was done but is degraded (one replica, or a node down)."
)


@contextmanager
def open_store(invocation: Invocation, settings: Settings | None = None) -> Iterator[Store]:
    """Connect a store, set it as ``invocation.store``, and close it after the block."""
    import pyarrow as pa

    from millrace.api import Store
    from millrace.settings import load_settings

    # pyarrow would replace the handlers of ``Interrupts`` during its own reads.
    pa.enable_signal_handlers(False)
    with Store.connect(settings or load_settings()) as store:
        invocation.opened_store = store
        yield store


def store_command(function: Callable[..., None]) -> Any:
    """Call the function while ``invocation.store`` is open; add the options ``--strict`` and ``--json``."""

    @strict_option
    @json_option
    @pass_invocation
    @wraps(function)
    def command(invocation: Invocation, /, **given: Any) -> None:
        with open_store(invocation):
            function(invocation, **given)

    return command


def open_cache(store: Store) -> ChunkCache:
    """Return the store's cache once it has responded; raise ``CacheError`` if it is down or switched off."""
    if store.cache is None:
        raise CacheError("no cache is configured", hint=store.settings.redis.switched_off)
    store.cache.ping()
    return store.cache
