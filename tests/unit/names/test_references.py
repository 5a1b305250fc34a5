"""Misspelled and invalid names."""

from __future__ import annotations

from typing import Any

import pytest

from millrace.errors import InvalidNameError
from millrace.names.references import check_dataset_name, nearest, parse_reference


def test_the_nearest_names_are_found_in_any_case_and_distant_names_are_not() -> None:
    assert nearest("sorce", ["mode", "Source", "dataset"]) == ["Source"]
    assert nearest("columns", ["column", "columns_", "Columns"], at_most=2) == ["Columns", "columns_"]
    assert nearest("zzz", ["mode", "source"]) == []


@pytest.mark.parametrize("given", [5, None, b"flights", ["flights"], 1.5])
def test_a_name_that_is_not_a_string_is_refused_with_its_type(given: Any) -> None:
    for ask in (parse_reference, check_dataset_name):
        with pytest.raises(InvalidNameError, match=f"not by {type(given).__name__}"):
            ask(given)
