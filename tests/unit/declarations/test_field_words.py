"""Messages about a declared source name the fields of its entry in place of command line options."""

from __future__ import annotations

import pytest

from millrace.declarations import ENTRY_TITLES, field_words, in_field_words
from millrace.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("give its type: --column-type a=string", 'give its type: "column_types" a=string'),
        ("give --max-bad-rows more", 'give "max_bad_rows" more'),
        ("leave out --null-value and --date-format", 'leave out "null_values" and "date_format"'),
        ("load it as another run (--run-id)", "load it as another run (--run-id)"),
        ("millrace ingest trips --force", "millrace ingest trips --force"),
    ],
)
def test_options_become_fields_where_an_entry_has_them(text: str, expected: str) -> None:
    assert field_words(text, ENTRY_TITLES, is_airflow=False) == expected


def test_an_error_that_leaves_the_block_names_fields() -> None:
    with pytest.raises(UsageError, match='leave out "delimiter"'), in_field_words(ENTRY_TITLES, is_airflow=False):
        raise UsageError("--delimiter applies to CSV only", hint="leave out --delimiter")
