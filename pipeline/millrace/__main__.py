"""Run the command ``millrace`` by ``python -m millrace``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType

from millrace.cli import main as command


class _WithoutPandas:
    """Import finder that hides pandas.

    pyarrow imports pandas where it is installed, which takes 0.7 s and 36 MB, and no command needs it.
    """

    @staticmethod
    def find_spec(name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None) -> None:
        """Raise ``ModuleNotFoundError`` for pandas; leave other modules to the next finder."""
        if name == "pandas":
            raise ModuleNotFoundError("no command needs pandas", name=name)


def main() -> int:
    """Run the command in a process of its own."""
    sys.meta_path.insert(0, _WithoutPandas)
    return command()


if __name__ == "__main__":
    sys.exit(main())
