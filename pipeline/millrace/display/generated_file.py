"""Keep a generated file of the checkout current."""

from __future__ import annotations

import sys
from pathlib import Path


def keep_current(path: Path, text: str, command: str, argv: list[str]) -> int:
    """Write the text to the file; with ``--check`` compare it, and return 1 if the file is not current.

    ``command`` writes the file, and is named on standard error.
    """
    if "--check" not in argv:
        path.write_text(text)
        return 0
    is_current = path.is_file() and path.read_text() == text
    sys.stderr.write("" if is_current else f"{path} is not current; run: {command}\n")
    return 0 if is_current else 1
