"""Wikimedia's KafkaSSE, where it can be installed: it is compiled, which takes minutes and a compiler."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from millrace.errors import StackError

__all__ = ["CLIENTS", "VERSION", "command", "install"]

VERSION = "0.4.2"
CLIENTS = 200
"""It opens a Kafka consumer for each client, with threads of its own: 2,000 clients would need more than 10,000
threads."""
_INSTALL_S = 1_800.0
_SERVER = Path(__file__).with_suffix(".js")


def install(folder: Path) -> Path:
    """Return the folder to run it in, made once; raise ``StackError`` if it cannot be installed."""
    target = folder / f"kafka-sse-{VERSION}"
    done = target / "installed"
    if done.exists():
        return target
    if not all(map(shutil.which, ("node", "npm", "g++", "make"))):
        raise StackError("KafkaSSE needs node, npm, g++ and make, which are not all here")
    target.mkdir(parents=True, exist_ok=True)
    (target / "package.json").write_text(json.dumps({"private": True, "dependencies": {"kafka-sse": VERSION}}))
    command = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", "--cache", str(target / "cache")]
    try:
        subprocess.run(command, cwd=target, check=True, capture_output=True, timeout=_INSTALL_S)
        # The installation succeeds even if the compiled part is missing.
        subprocess.run(["node", "-e", 'require("kafka-sse")'], cwd=target, check=True, capture_output=True, timeout=60)
    except (subprocess.SubprocessError, OSError) as error:
        raise StackError(f"KafkaSSE does not install here ({type(error).__name__})") from error
    done.touch()
    return target


def command(port: int, brokers: str) -> list[str]:
    """Return the command of one process, as Millrace's bridge is one; run it in the folder of ``install``."""
    return ["node", str(_SERVER), str(port), brokers]
