"""``millrace config``: every setting with its value and source."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from millrace.cli.invocation import Invocation, json_option, pass_invocation
from millrace.cli.output import print_table


@click.command(short_help="Show every setting, its value and where the value comes from.")
@click.option("--example", is_flag=True, help="Print a millrace.toml with every setting, commented out.")
@json_option
@pass_invocation
def command(invocation: Invocation, /, example: bool) -> None:
    """Show every setting with its value, and the variable or file that gives the value.

    Passwords and tokens are shown as set or not set. A wrong or unknown setting is refused by name.

    JSON: settings (name, value, source: a variable, a file or default).

    \b
    Example:
      millrace config
      millrace config --example > millrace.toml
    """
    from millrace.settings import example_toml, setting_values

    if example:
        click.echo(example_toml(), nl=False)
        return
    values = setting_values()

    def show() -> None:
        rows = [(value.name, _text(value.value), value.source) for value in values]
        print_table(["setting", "value", "source"], rows, folding=["value", "source"])

    invocation.answer({"settings": [*map(asdict, values)]}, show)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
