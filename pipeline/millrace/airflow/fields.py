"""Names of the form's fields: their keys in a run's conf, and their titles.

In error messages the title of a field replaces the command line option with the same meaning.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from millrace.declarations import OPTION_NAMES
from millrace.errors import MillraceError, UsageError
from millrace.names import nearest

if TYPE_CHECKING:
    from millrace.sources import SourceWarning


_FIELDS: Final = {
    "--schema": "schema_file",
    "--null-value": "null_values",
    "--column-type": "column_types",
    "--no-header": "header",
    "--keep": "prune_keep",
    "--form": "warm_form",
}
"""Command line options whose form field has a different name."""

# A command keeps its options, because users type it in a shell.
_COMMAND = r"(?:millrace|\./run) [^;:,]*"
_QUOTED = r"(?<!\w)'(?:[^'\\]|\\.)*'"
# Airflow assigns the id of a DAG run, so the form has no field for it.
_ANOTHER_RUN = r"load it(?: again)? as another run(?: \(--run-id\))?"
_OPTION = r"(?<![\w-])(?P<option>--[a-z][a-z-]*)(?![\w-])"
# A value quoted by shlex.quote. A form field expects it without the shell quotes.
_SHELL_WORD = r"(?:(?<=--column-type) (?P<word>(?:'[^']*'|\"'\")+))?"


def field_titles(context: Mapping[str, Any]) -> dict[str, str]:
    """Return the title of each form field of this task's DAG by its key in a run's conf.

    A DAG without a form belongs to a declared source. The titles are then the names of the fields in its entry.
    """
    params = context["dag"].params
    titles = {name: params.get_param(name).schema.get("title", name) for name in params}
    return titles or {name: name for name in OPTION_NAMES}


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


def form_words(text: str, titles: Mapping[str, str], source_names: Iterable[object] = ()) -> str:
    """Replace each command line option in a message by the title of its form field; return the message.

    A hint to load a source as another run becomes "trigger a new run".

    ``source_names`` contains names from the source, such as column names. They are not
    changed. Neither are commands and values in single quotes.
    """
    names = [re.escape(name) for name in source_names if isinstance(name, str) and name]
    run = f"(?P<run>{_ANOTHER_RUN})"
    pattern = "|".join([*sorted(names, key=len, reverse=True), _COMMAND, _QUOTED, run, _OPTION + _SHELL_WORD])

    def word(match: re.Match[str]) -> str:
        if match["run"]:
            return "trigger a new run"
        option = match["option"]
        title = titles.get(_FIELDS.get(option, option[2:].replace("-", "_"))) if option else None
        if title is None:
            return match[0]
        if match["word"]:
            return f'"{title}" {shlex.split(match["word"])[0]}'
        return f'"{title}" off' if option.startswith("--no-") else f'"{title}"'

    return re.sub(pattern, word, text)


def warning_in_form_words(warning: SourceWarning, titles: Mapping[str, str]) -> SourceWarning:
    """Return the warning with form field titles in place of command line options in its message."""
    return replace(warning, message=form_words(warning.message, titles, (warning.column, warning.file)))


@contextmanager
def in_form_words(titles: Mapping[str, str]) -> Iterator[None]:
    """Replace command line options by form field titles in the errors that leave the block, and in their causes."""
    try:
        yield
    except MillraceError as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, MillraceError):
                source_names = list(cause.context.values())
                cause.message, cause.hint = (
                    form_words(text, titles, source_names) for text in (cause.message, cause.hint)
                )
            cause = cause.__cause__ or cause.__context__
        raise
