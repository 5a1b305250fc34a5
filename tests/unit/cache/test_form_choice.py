"""The rule that chooses the form of a version in the cache."""

from __future__ import annotations

from millrace.cache.form_choice import chosen_form
from millrace.cache.values import Form


def test_the_form_is_raw_if_it_fits_and_takes_at_most_four_times_the_memory() -> None:
    assert chosen_form(stored_bytes=100, raw_bytes=400, free_bytes=400) is Form.RAW
    assert chosen_form(stored_bytes=100, raw_bytes=400, free_bytes=399) is Form.STORED
    assert chosen_form(stored_bytes=100, raw_bytes=401, free_bytes=10_000) is Form.STORED


def test_a_version_keeps_the_form_in_which_it_is_cached() -> None:
    assert chosen_form(stored_bytes=100, raw_bytes=100, free_bytes=999, cached=[Form.STORED]) is Form.STORED
    assert chosen_form(stored_bytes=100, raw_bytes=999, free_bytes=0, cached=[Form.RAW]) is Form.RAW
    assert chosen_form(stored_bytes=100, raw_bytes=100, free_bytes=999, cached=list(Form)) is Form.STORED


def test_some_columns_are_always_raw() -> None:
    assert chosen_form(stored_bytes=1, raw_bytes=99, free_bytes=0, cached=[Form.STORED], has_columns=True) is Form.RAW
