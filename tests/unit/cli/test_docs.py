from __future__ import annotations

import re
from pathlib import Path

import click
import pyarrow.csv as pc
import pytest

from millrace.cli.app import COMMANDS, cli
from millrace.cli.reference import markdown

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"


def test_the_page_is_the_generated_reference() -> None:
    assert PAGE.read_text() == markdown(), "run: python -m millrace.cli.reference > docs/cli.md"


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_and_every_option_is_on_the_page(name: str) -> None:
    section = PAGE.read_text().split(f"\n## millrace {name}\n")[1].split("\n## ")[0]
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    for parameter in command.params:
        for spelling in (*parameter.opts, *parameter.secondary_opts):
            if spelling.startswith("-"):
                assert re.search(rf"(?<![\w-]){re.escape(spelling)}(?![\w-])", section), spelling
    assert "Example:" in section


def test_the_spellings_of_null_on_the_page_are_those_of_pyarrow() -> None:
    section = PAGE.read_text().split("\n## millrace load\n")[1].split("\n## ")[0]
    listed = section.split("an empty field and these are null:\n\n")[1].split("\n\n")[0]
    spelled = [each for line in listed.splitlines() for each in re.split(r" {2,}", line.strip())]
    assert sorted(["", *spelled]) == sorted(pc.ConvertOptions().null_values)
