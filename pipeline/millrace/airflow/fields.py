"""Names of the form's fields: their keys in a run's conf, and their titles.

In error messages the title of a field replaces the command line option with the same meaning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from millrace.declarations import ENTRY_TITLES
from millrace.errors import UsageError
from millrace.names import nearest


def field_titles(context: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the title of each form field of this task's DAG by its key in a run's conf.

    A DAG without a form belongs to a declared source. The titles are then the names of the fields in its entry.
    """
    params = context["dag"].params
    return {name: params.get_param(name).schema.get("title", name) for name in params} or ENTRY_TITLES


def refuse_unknown_keys(conf: Mapping[str, Any] | None, keys: Iterable[str]) -> None:
    """Raise ``UsageError`` for the first key of a run's conf that is not one of ``keys``, with the nearest of them."""
    known = list(keys)
    for key in conf or {}:
        if key not in known:
            near = nearest(key, known, at_most=1)
            known_keys = f"known keys are {', '.join(known)}" if known else "this DAG has no keys"
            raise UsageError(
                f"the run's conf has the unknown key {key!r}",
                hint=f"did you mean {near[0]!r}?" if near else known_keys,
                expected=known,
                actual=key,
            )
