from __future__ import annotations

from local_stack.python_page import PAGE, examples, markdown, public_methods


def test_the_reference_is_made_from_the_docstrings() -> None:
    assert PAGE.read_text() == markdown(), "run: python -m local_stack.python_page"


def test_each_public_method_has_a_docstring_and_an_example_and_no_example_is_left_over() -> None:
    methods = dict(public_methods())
    assert set(examples()) == {*methods, "end"}
    assert [name for name, member in methods.items() if not member.__doc__] == []
