"""``millrace completion``: the script by which a shell completes commands and options."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from millrace.cli.app import COMPLETE_VARIABLE
from millrace.cli.invocation import Invocation, json_option, pass_invocation

_SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command(short_help="Print the completion script of a shell.")
@click.argument("shell", type=click.Choice(list(_SHELLS)))
@json_option
@pass_invocation
@click.pass_context
def command(context: click.Context, invocation: Invocation, /, shell: str) -> None:
    """Print the script that makes SHELL complete commands and options of millrace.

    JSON: shell, script.

    \b
    Example:
      eval "$(millrace completion bash)"
      millrace completion zsh > "${fpath[1]}/_millrace"
      millrace completion fish > ~/.config/fish/completions/millrace.fish
    """
    complete = _SHELLS[shell](context.find_root().command, {}, "millrace", COMPLETE_VARIABLE)
    script = complete.source_template % complete.source_vars()
    invocation.answer({"shell": shell, "script": script}, lambda: click.echo(script))
