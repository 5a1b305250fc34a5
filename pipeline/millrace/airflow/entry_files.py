"""Render the entries of a YAML file as DAG files, one file for each entry, so that a broken entry harms no other.

An error in a DAG file makes Airflow deactivate every DAG of that file. So each entry has a file of its own, which
contains the checked entry. A broken entry has a file that raises its errors. While the YAML file has errors outside of
its entries, all files stay as they are, and one more file raises these errors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from pprint import pformat
from typing import Any
from zlib import crc32

from pydantic import BaseModel

from millrace.declarations import NAME_PATTERN, Declarations
from millrace.errors import DeclarationError


@dataclass(frozen=True, slots=True)
class EntryFiles:
    """The DAG files of the entries of one section, in a folder that contains nothing else.

    Each file calls ``module.function(NAME, VALUES)``, which defines the DAG ``{prefix}{NAME}``. ``VALUES`` are the
    fields of the entry as plain JSON values.
    """

    folder: Path
    key: str
    module: str
    function: str
    prefix: str

    def render(self, declarations: Declarations[Any]) -> None:
        """Write the files that changed, and remove the files of entries that are not in the YAML file any more.

        Concurrent calls must be excluded by the caller; concurrent readers see each file as a whole.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        file_error = self.folder / f"{self.key}_file_error.py"
        if declarations.file_errors:
            _write(file_error, self._broken(f"every entry of {declarations.file}", declarations.file_errors))
            return
        texts = self._texts(declarations)
        for name, text in texts.items():
            _write(self.folder / name, text)
        for path in self.folder.glob("*.py"):
            if path.name not in texts:
                path.unlink(missing_ok=True)

    def _texts(self, declarations: Declarations[Any]) -> dict[str, str]:
        """Return the text of each file by its name."""
        texts = {}
        for name in declarations.names:
            title = f"the entry {name!r} of {declarations.file}"
            entry = declarations.entries.get(name)
            texts[self._file_name(name)] = (
                self._broken(title, declarations.entry_errors[name])
                if entry is None
                else self._usable(title, name, entry)
            )
        return texts

    def _file_name(self, name: str) -> str:
        """Return the name of an entry's file; that of an entry with a wrong name has only safe characters."""
        if re.fullmatch(NAME_PATTERN, name):
            return f"{self.prefix}{name}.py"
        return f"{self.prefix}{re.sub('[^a-z0-9]', '_', name.lower())[:39]}_{crc32(name.encode()):08x}.py"

    def _usable(self, title: str, name: str, entry: BaseModel) -> str:
        values: Mapping[str, Any] = entry.model_dump(mode="json", exclude_unset=True)
        call = f"{self.function}(\n    {name!r},\n{_indented(pformat(values, width=100, sort_dicts=False))},\n)"
        return f"{_header(title)}\n\nfrom {self.module} import {self.function}\n\n{call}\n"

    def _broken(self, title: str, errors: list[DeclarationError]) -> str:
        messages = "\n".join(map(str, errors))
        return (
            f"{_header(title)}\n\nfrom {DeclarationError.__module__} import {DeclarationError.__name__}\n\n"
            f"raise {DeclarationError.__name__}({messages!r})\n"
        )


def _header(title: str) -> str:
    # Airflow parses only files that contain the words "dag" and "airflow".
    return f"# The Airflow DAG of {title}. Millrace writes this file: edit the YAML file instead."


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def _write(path: Path, text: str) -> None:
    """Replace the file in one step, unless it has this text: a new modification time makes Airflow parse it again."""
    with suppress(FileNotFoundError, UnicodeDecodeError):
        if path.read_text("utf-8") == text:
            return
    partial = path.with_suffix(".partial")
    partial.write_text(text, "utf-8")
    partial.replace(path)
