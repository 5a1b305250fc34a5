"""Packages that only some tests need, each set in a folder of its own for ``PYTHONPATH``.

pandas is not installed beside the others, because pyarrow imports it wherever it finds it, and torch takes 3 GB.
"""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

from local_stack.settings import CHECKOUT


def package_folder(name: str, *, timeout_s: int = 280) -> Path:
    """Install ``tests/requirements-NAME.txt``, once for each lock and Python, and return the folder."""
    lock = CHECKOUT / "tests" / f"requirements-{name}.txt"
    of = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = CHECKOUT / ".millrace" / "cache" / f"{name}-{of}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as running:
        fcntl.flock(running, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--upgrade"]
            subprocess.run([*command, "--target", str(folder), "-r", str(lock)], check=True, timeout=timeout_s)
            (folder / "complete").touch()
    return folder
