"""``docs/sources.md`` lists its sections and every field, and its example is valid."""

from __future__ import annotations

import re

from local_stack.settings import CHECKOUT
from millrace.declarations import SourceEntry
from millrace.declarations.option_fields import OPTION_NAMES
from millrace.settings import field_docstrings
from tests.unit.declarations.conftest import Read

PAGE = (CHECKOUT / "docs" / "sources.md").read_text()


def test_the_page_begins_with_links_to_its_sections() -> None:
    introduction, body = PAGE.split("\n## ", 1)
    titles = re.findall(r"^(?:##|###) (.*)$", f"## {body}", re.MULTILINE)
    links = re.findall(r"\[([^\]]+)\]\(#([\w-]+)\)", introduction)
    assert links == [(title, title.lower().replace(" ", "-")) for title in titles]


def test_the_first_section_has_three_recipes() -> None:
    title, section = PAGE.split("\n## ")[1].split("\n", 1)
    recipes = re.findall(r"^### (.*)$", section, re.MULTILINE)
    assert (title, recipes) == ("Recipes", ["S3", "HTTPS with a token", "A folder"])


def test_the_table_has_each_field_with_its_sentence() -> None:
    table = re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE.split("\n## Fields\n")[1].split("\n## ")[0], re.MULTILINE)
    docstrings = field_docstrings(SourceEntry)
    assert table == [(name, " ".join(text.replace("``", "`").split())) for name, text in docstrings.items()]


def test_the_options_of_a_load_are_listed() -> None:
    listed = PAGE.split("are the options of `millrace load`")[1].split("):\n")[1].split(".\n")[0]
    assert tuple(re.findall(r"`(\w+)`", listed)) == OPTION_NAMES


def test_the_example_is_valid_and_listed_as_the_page_shows(read: Read) -> None:
    example = PAGE.split("\n### A folder\n")[1].split("```yaml\n")[1].split("```")[0]
    declared = read(example)
    assert declared.errors == []
    for name, entry in declared.entries.items():
        row = [name, entry.dataset, entry.mode, entry.schedule_in_words(), ", ".join(entry.uri), "ok"]
        assert " ".join(row) in [" ".join(line.split()) for line in PAGE.splitlines()]
    broken = read(example.replace("30 5 * * *", "5 * *"))
    assert f"millrace: {broken.errors[0]}" in PAGE.splitlines()


def test_the_entry_of_the_readme_is_valid(read: Read) -> None:
    declared = read((CHECKOUT / "README.md").read_text().split("```yaml\n")[1].split("```")[0])
    assert (declared.errors, list(declared.entries)) == ([], ["sales"])
