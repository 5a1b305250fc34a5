"""Fetch a peer's packages by their hashes, into a folder that only its benchmark uses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from millrace.errors import StackError

__all__ = ["fetch"]


def fetch(target: Path, locked: str, *, has: str, name: str) -> Path:
    """Return ``target`` with the packages of ``locked`` in it, fetched once.

    ``locked`` has pip's requirements, every one with its hashes. ``has`` is a path below ``target`` that exists after a
    fetch. Raises ``StackError`` if the packages cannot be installed.
    """
    if not (target / has).exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        requirements = target.with_name(f"{target.name}.txt")
        requirements.write_text(locked)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        done = subprocess.run([*pip, "--require-hashes", "--target", str(target), "-r", str(requirements)], check=False)
        if done.returncode:
            raise StackError(f"{name} could not be installed for comparison")
    return target
