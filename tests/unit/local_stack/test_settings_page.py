"""``docs/settings.md`` is rendered from the settings and is current."""

from __future__ import annotations

import pytest

from local_stack.settings import CHECKOUT, StackSettings
from local_stack.settings_page import markdown
from millrace.settings import Settings
from millrace.settings.fields import NO_SETTINGS, setting_fields, variable_name

ROWS = [row.split(" | ") for row in markdown().splitlines() if row.startswith("| `MILLRACE_")]


def test_the_page_is_current() -> None:
    page = (CHECKOUT / "docs" / "settings.md").read_text()
    assert page == markdown(), "run: python -m local_stack.settings_page > docs/settings.md"


def test_every_setting_is_listed_once_with_a_sentence_a_default_and_a_range() -> None:
    expected = [variable_name((section, name)) for section, name, _ in setting_fields(Settings)]
    expected += [variable_name(("stack", name)) for name in StackSettings.model_fields if name != "home"]
    tables = [row for row in ROWS if len(row) == 4]
    assert [row[0].strip("| `") for row in tables] == expected
    for _, default, allowed, sentence in tables:
        assert default
        assert allowed
        assert sentence.removesuffix(" |").endswith(".")


def test_every_variable_that_is_not_a_setting_is_listed() -> None:
    listed = " ".join(row[0] for row in ROWS if len(row) < 4)
    for name in NO_SETTINGS:
        assert f"`{name}`" in listed


@pytest.mark.parametrize(
    ("variable", "default", "allowed"),
    [
        ("MILLRACE_CASSANDRA__PORT", "`9042`", "from 1 to 65,535"),
        ("MILLRACE_CASSANDRA__CONTACT_POINTS", "`127.0.0.1,127.0.0.2`", "a list"),
        ("MILLRACE_CASSANDRA__PASSWORD", "none", "text"),
        ("MILLRACE_CASSANDRA__UNRESPONSIVE_AFTER_S", "`2`", "from 0.1 to 60"),
        ("MILLRACE_REDIS__URL", "`redis://127.0.0.1:6379/0`", "text"),
        ("MILLRACE_KAFKA__CONFIG", "none", "a JSON object of texts"),
        ("MILLRACE_LOAD__CODEC", "`gzip`", "gzip, zstd, none"),
        ("MILLRACE_LOAD__BYTES_PER_S", "`0`", "from 0"),
        ("MILLRACE_READ__USE_CACHE", "`true`", "true, false"),
        ("MILLRACE_STACK__MAVEN_REPOSITORY", "`.millrace/maven`", "text"),
    ],
)
def test_defaults_and_ranges_are_written_as_they_are_given(variable: str, default: str, allowed: str) -> None:
    [row] = [row for row in ROWS if row[0] == f"| `{variable}`"]
    assert row[1:3] == [default, allowed]
