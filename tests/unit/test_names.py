"""Names that people misspell."""

from __future__ import annotations

from pipeline.names import nearest


def test_the_nearest_names_are_found_whatever_their_case_and_nothing_that_is_far() -> None:
    assert nearest("sorce", ["mode", "Source", "dataset"]) == ["Source"]
    assert nearest("columns", ["column", "columns_", "Columns"], at_most=2) == ["Columns", "columns_"]
    assert nearest("zzz", ["mode", "source"]) == []
