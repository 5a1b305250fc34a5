"""``python -m millrace`` is ``millrace``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType

from millrace.cli import main as command

__all__ = ["main"]


class _WithoutPandas:
    """Keeps pandas out: pyarrow imports it where it is installed, for 0.7 s and 36 MB, and no command needs it."""

    @staticmethod
    def find_spec(name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None) -> None:
        """Raise ``ModuleNotFoundError`` for pandas; leave the rest to others."""
        if name == "pandas":
            raise ModuleNotFoundError("no command needs pandas", name=name)


def main() -> int:
    """Run the command in a process of its own."""
    sys.meta_path.insert(0, _WithoutPandas)
    return command()


if __name__ == "__main__":
    sys.exit(main())
