"""``millrace``, the command: the same as ``python -m millrace``.

Importing this package loads nothing. ``main`` loads click, and each command loads its own dependencies when it runs, so
that ``millrace --help`` responds at once.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 wrong usage, 3 degraded, 130 interrupted.

    Every ``MillraceError`` is one line on standard error, with ``--json`` also a document on standard output.
    """
    try:
        from millrace.cli.app import run
    except KeyboardInterrupt:
        return 130
    return run(argv)
