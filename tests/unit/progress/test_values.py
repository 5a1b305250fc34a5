"""Conversion of values to the texts and numbers of events."""

from __future__ import annotations

import json

import pytest

from millrace.progress import fitting

VALUES = {"a": 1, "b": "\N{GRINNING FACE}", 'c"': [1, 2], "d": {"e": None}}


def test_a_mapping_keeps_the_first_values_that_have_room() -> None:
    assert fitting(VALUES, 1_000) == VALUES
    assert fitting(VALUES, 10) == {"a": 1}
    assert fitting(VALUES, 0) == fitting({}, 100) == {}


@pytest.mark.parametrize("bytes_max", range(0, 80, 7))
def test_the_values_that_are_kept_are_no_larger_than_allowed(bytes_max: int) -> None:
    kept = fitting(VALUES, bytes_max)
    assert not kept or len(json.dumps(kept)) <= bytes_max
    assert list(kept) == list(VALUES)[: len(kept)]
