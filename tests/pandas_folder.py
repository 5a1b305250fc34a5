"""pandas for the tests that need it, in a separate folder, because pyarrow imports pandas if it is installed."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

from local_stack.settings import CHECKOUT

LOCK = CHECKOUT / "tests" / "requirements-pandas.txt"


def pandas_folder() -> Path:
    """Install pandas as locked, once for each lock and Python, and return the folder for ``PYTHONPATH``."""
    of = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = CHECKOUT / ".millrace" / "cache" / f"pandas-{of}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--upgrade"]
            subprocess.run([*command, "--target", str(folder), "-r", str(LOCK)], check=True, timeout=280)
            (folder / "complete").touch()
    return folder
