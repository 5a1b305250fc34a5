"""Render ``docs/cli.md`` from the commands: ``python -m millrace.cli.reference > docs/cli.md``."""

from __future__ import annotations

from typing import Any

import click

from millrace.cli.app import cli

_SIZE: dict[str, Any] = {"terminal_width": 100}

_HEAD = """# The command line

`millrace` is the same as `python -m millrace`. This page is made from the commands' own help:
`python -m millrace.cli.reference > docs/cli.md`.

Without `--json` a command prints tables on standard output. Progress bars (only on a terminal), warnings and errors
are on standard error, each warning and each error as one line. With `--json` a command prints one JSON document on
standard output. The document of an error is
`{"error": "DatasetNotFoundError", "message": ..., "hint": ..., ...}`.

| exit code | meaning |
|---|---|
| 0 | Done. If data is on one node only, or a node was down, a warning and `"degraded": true` report it. |
| 1 | failed |
| 2 | wrong usage, or a run that `watch` does not know |
| 3 | done but degraded, with `--strict` |
| 124 | `watch --timeout-s`: the run is still running |
| 130 | interrupted (Ctrl-C or SIGTERM); a second interrupt ends the process at once |
"""


def markdown() -> str:
    """Return the whole page, with every command and every option."""
    root = click.Context(cli, info_name="millrace", **_SIZE, **cli.context_settings)
    parts = [_HEAD, "## millrace\n", _block(root)]
    for name in cli.list_commands(root):
        command = cli.get_command(root, name)
        if command is not None:
            parts += [f"## millrace {name}\n", _block(click.Context(command, root, info_name=name))]
    return "\n".join(parts)


def _block(context: click.Context) -> str:
    lines = (line.rstrip() for line in context.get_help().splitlines())
    return "```text\n" + "\n".join(lines) + "\n```\n"


if __name__ == "__main__":
    print(markdown(), end="")
