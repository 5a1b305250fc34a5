"""An environment of its own for each peer: one requirements file beside this module, installed once and reused."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.peers.fetched import fetch
from millrace.errors import StackError

__all__ = ["interpreter", "locked_version"]

_FOLDER = Path(__file__).parent


def locked_version(peer: str, package: str | None = None) -> str:
    """Return the version of a package in the peer's requirements file, by default of that with the peer's name."""
    return f"\n{_locked(peer)}".partition(f"\n{package or peer}==")[2].split()[0]


def interpreter(peer: str, folder: Path, *, python: str = sys.executable) -> Path:
    """Return the Python of the peer's environment below ``folder``; install ``<peer>.txt`` if that was not done yet.

    ``python`` is the interpreter, or a version that must be on this machine. Environments share the files of packages
    that several of them need. Raises ``StackError`` if there is no such Python, or if a package cannot be installed.
    """
    locked = _locked(peer)
    environment = folder / f"{peer}-{hashlib.sha256(locked.encode()).hexdigest()[:12]}"
    executable, complete = environment / "bin" / "python", environment / "complete"
    if not complete.exists():
        shutil.rmtree(environment, ignore_errors=True)
        requirements = folder / f"{peer}.txt"
        folder.mkdir(parents=True, exist_ok=True)
        requirements.write_text(locked)
        _uv(folder, peer, ["venv", "--quiet", "--python", python, str(environment)])
        sync = ["pip", "sync", "--quiet", "--require-hashes", "--python", str(executable), str(requirements)]
        _uv(folder, peer, sync)
        complete.touch()
    return executable


def _locked(peer: str) -> str:
    return (_FOLDER / f"{peer}.txt").read_text()


def _uv(folder: Path, peer: str, arguments: Sequence[str]) -> None:
    target = fetch(folder / f"uv-{locked_version('uv')}", _locked("uv"), has="bin/uv", name="uv")
    env = {"UV_CACHE_DIR": str(folder / "uv-cache"), "UV_PYTHON_DOWNLOADS": "never", **os.environ}
    if subprocess.run([str(target / "bin" / "uv"), *arguments], env=env, check=False).returncode:
        raise StackError(f"{peer} could not be installed for comparison")
