"""Write the reference in ``docs/python.md`` from the public docstrings: ``python -m local_stack.python_page``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from functools import cached_property
from itertools import chain
from typing import Any

from local_stack.settings import CHECKOUT
from millrace.api import Dataset, Store

__all__ = ["PAGE", "examples", "markdown", "public_methods"]

PAGE = CHECKOUT / "docs" / "python.md"
_MARKER = "<!-- The rest of this page is made from the docstrings: python -m local_stack.python_page -->\n"
_HEAD = """
# Reference

The examples are those of [examples/every_method.py](../examples/every_method.py), which a test runs. Every error is a
`millrace.errors.MillraceError` with a message, a `hint` and `context`; `retriable` tells whether the same call may
succeed later.
"""
_SECTION = re.compile(r"^# == (\S+)\n", re.MULTILINE)


def public_methods() -> Iterator[tuple[str, Any]]:
    """Yield the name and the object of each public method and property of ``Store`` and ``Dataset``."""
    for owner in (Store, Dataset):
        for name, member in chain.from_iterable(vars(part).items() for part in reversed(owner.__mro__[:-1])):
            if (not name.startswith("_") or name == "__arrow_c_stream__") and not isinstance(member, type):
                yield f"{owner.__name__}.{name}", member


def examples() -> dict[str, str]:
    """Return the example of each method from ``examples/every_method.py``."""
    parts = _SECTION.split((CHECKOUT / "examples" / "every_method.py").read_text())[1:]
    return {name: code.strip() for name, code in zip(parts[::2], parts[1::2], strict=True)}


def markdown() -> str:
    """Return the page: its text up to the marker, then each public method with its docstring and its example."""
    code = examples()
    sections = [PAGE.read_text().partition(_MARKER)[0] + _MARKER + _HEAD]
    owner = ""
    for name, member in public_methods():
        title = name.partition(".")[0]
        if title != owner:
            owner = title
            documented = Store if owner == "Store" else Dataset
            sections.append(f"## {owner}\n\n{_text(documented)}\n")
        sections.append(f"### {_signature(name, member)}\n\n{_text(member)}\n\n```python\n{code[name]}\n```\n")
    return "\n".join(sections)


def _signature(name: str, member: Any) -> str:
    if isinstance(member, property | cached_property):
        return f"`{name}`"
    call = inspect.signature(getattr(member, "__func__", member))
    shown = [each for key, each in call.parameters.items() if key not in ("self", "cls")]
    return f"`{name}{inspect.Signature([each.replace(annotation=inspect.Parameter.empty) for each in shown])}`"


def _text(member: Any) -> str:
    return (inspect.getdoc(member) or "").replace("``", "`")


if __name__ == "__main__":
    PAGE.write_text(markdown())
