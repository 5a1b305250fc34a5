"""Render ``docs/settings.md`` from the settings: ``python -m local_stack.settings_page > docs/settings.md``."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from local_stack.settings import CHECKOUT, StackSettings
from millrace.settings import Settings, default_value, field_docstrings, variable_name

__all__ = ["markdown"]

_HEAD = """# Settings

This page is made from the code of the settings: `python -m local_stack.settings_page > docs/settings.md`.

The value of a setting is the first one that is found in these places, in this order:

1. In Python: the arguments of `connect`, as in `millrace.connect(cassandra={"keyspace": "other"})`. In Airflow: the
   connections `cassandra_default`, `redis_default` and `kafka_default`.
2. An environment variable, such as `MILLRACE_CASSANDRA__KEYSPACE=other`. A list is written with commas or as JSON.
3. `millrace.toml` in the working directory, or the file that `MILLRACE_CONFIG` names. It has a table for each section
   of this page, such as `[cassandra]` with `keyspace = "other"`.
4. `$MILLRACE_HOME/millrace.toml`. In a checkout `./run up` writes it for the local stack. If `MILLRACE_HOME` is not
   set, an installed package reads `millrace.toml` in the user's configuration folder (`~/.config/millrace`).
5. The default.

A value outside its range is refused before anything starts, and the error names the setting. An unknown setting is
refused, too, and the error names the nearest known one. Names of sizes end in `_bytes`, those of times in `_s`
(seconds).

In Python, in `millrace.toml` and in `millrace config`, a setting has a section and a name. The variable
`MILLRACE_CASSANDRA__PORT` sets `cassandra.port`.
"""

_OTHERS = """## Variables that are not settings

| variable | |
|---|---|
| `MILLRACE_HOME` | The folder of local data: `.millrace` in a checkout, `~/.local/share/millrace` otherwise. |
| `MILLRACE_CONFIG` | The file that is read in place of `millrace.toml`; if the variable is empty, no file is read. |
| `MILLRACE_DEBUG` | `1` prints the traceback of an error. |
| `MILLRACE_PYTHON` | The Python that `./run` uses. |
| `MILLRACE_CHROMIUM` | The browser that the tests use. |
| `MILLRACE_TEST_SEED`, `MILLRACE_TEST_FULL` | The seed of the tests' random choices; whether the long tests run. |
"""

_COLUMNS = "| variable | default | range | |\n|---|---|---|---|"


def markdown() -> str:
    """Return the whole page, with the sentences, default, range and variable of every setting."""
    parts = [_HEAD]
    for section, whole in Settings.model_fields.items():
        model: Any = whole.annotation
        parts += [f"## {section}\n", f"{_sentence(model.__doc__)}\n", _table(model, (section,))]
    parts += [
        "## The local stack\n",
        "Only `./run` reads these settings.\n",
        _table(StackSettings, ("stack",)),
    ]
    return "\n".join([*parts, _OTHERS])


def _table(model: type[BaseModel], path: tuple[str, ...]) -> str:
    docstrings = field_docstrings(model)
    rows = [_COLUMNS]
    for name, field in model.model_fields.items():
        variable = "MILLRACE_HOME" if model is StackSettings and name == "home" else variable_name((*path, name))
        if variable != "MILLRACE_HOME":
            rows.append(f"| `{variable}` | {_default(field)} | {_range(field)} | {_sentence(docstrings[name])} |")
    return "\n".join(rows) + "\n"


def _sentence(text: str | None) -> str:
    return re.sub(r"\s+", " ", text or "").replace("``", "`").replace("|", "\\|").strip()


def _default(field: FieldInfo) -> str:
    value = default_value(field)
    if isinstance(value, list):
        value = ",".join(value)
    if value in (None, "", {}, PydanticUndefined):
        return "none"
    text = str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
    return f"`{text.replace(f'{CHECKOUT}/', '')}`"


def _range(field: FieldInfo) -> str:
    if words := list(_bounds(field)):
        return " ".join(words)
    kind: Any = field.annotation
    if get_origin(kind) is Literal:
        return ", ".join(map(str, get_args(kind)))
    names = {bool: "true, false", tuple: "a list", dict: "a JSON object of texts"}
    return names.get(get_origin(kind) or kind, "text")


def _bounds(field: FieldInfo) -> Iterator[str]:
    for rule in field.metadata:
        for sign, word in (("ge", "from"), ("gt", "above"), ("le", "to"), ("lt", "below")):
            if (bound := getattr(rule, sign, None)) is not None:
                yield f"{word} {bound:,}"
        if pattern := getattr(rule, "pattern", None):
            yield f"`{pattern}`"


if __name__ == "__main__":
    sys.stdout.write(markdown())
