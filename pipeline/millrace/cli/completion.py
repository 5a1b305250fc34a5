"""``millrace completion``: the script by which a shell completes commands and options."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

__all__ = ["COMPLETE_VARIABLE", "command"]

COMPLETE_VARIABLE = "_MILLRACE_COMPLETE"
"""The shell's script sets it when it asks ``millrace`` for completions."""
_SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command(short_help="Print the completion script of a shell.")
@click.argument("shell", type=click.Choice(list(_SHELLS)))
@click.pass_context
def command(context: click.Context, /, shell: str) -> None:
    """Print the script that makes SHELL complete commands and options of millrace.

    \b
    Example:
      eval "$(millrace completion bash)"
      millrace completion zsh > "${fpath[1]}/_millrace"
      millrace completion fish > ~/.config/fish/completions/millrace.fish
    """
    complete = _SHELLS[shell](context.find_root().command, {}, "millrace", COMPLETE_VARIABLE)
    click.echo(complete.source_template % complete.source_vars())
