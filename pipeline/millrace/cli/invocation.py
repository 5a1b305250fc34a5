"""One call of ``millrace``: what was asked for in general, and what will decide its exit code."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from millrace.cli.interrupts import Interrupts
from millrace.cli.output import print_json, warn

if TYPE_CHECKING:
    from millrace.api import Store

__all__ = ["Invocation", "json_option", "pass_invocation", "strict_option"]


@dataclass(slots=True)
class Invocation:
    """``argv`` is what stood behind ``millrace``; the rest is set by options and by the command itself."""

    argv: tuple[str, ...]
    interrupts: Interrupts
    json: bool = False
    strict: bool = False
    debug: bool = False
    degraded: bool = False
    store: Store | None = None
    """The store that the command works on; whether its catalogue was read with a node down counts as degraded."""
    _said: set[str] = field(default_factory=set)

    def note_degraded(self, why: str) -> None:
        """The work is done, but something is on one node only or was read with a node down; said once."""
        self.degraded = True
        self.warn_once(why)

    def warn_once(self, text: str) -> None:
        """One line on stderr, once for each text."""
        if text not in self._said:
            self._said.add(text)
            warn(text)

    def answer(self, facts: dict[str, Any], show: Callable[[], None]) -> None:
        """The result: ``facts`` for machines (with ``degraded``), or what ``show`` prints for people."""
        if self.store is not None and self.store.catalogue.was_degraded:
            self.note_degraded(self.store.catalogue.degraded_words)
        if self.json:
            print_json({**facts, "degraded": self.degraded or bool(facts.get("degraded"))})
        else:
            show()

    def command_with(self, *options: str) -> str:
        """This very call, with options added, as one would type it."""
        return shlex.join(["millrace", *self.argv, *options])


pass_invocation = click.make_pass_decorator(Invocation)


def _set(name: str) -> Callable[[click.Context, click.Parameter, bool], None]:
    def callback(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
        invocation = context.find_object(Invocation)
        if invocation is not None and value:
            setattr(invocation, name, True)

    return callback


json_option = click.option(
    "--json",
    is_flag=True,
    expose_value=False,
    callback=_set("json"),
    help="Print the result as one JSON document; errors too.",
)
strict_option = click.option(
    "--strict",
    is_flag=True,
    expose_value=False,
    callback=_set("strict"),
    help="End with exit code 3 when the work was done but is degraded (one replica, or a node down).",
)
