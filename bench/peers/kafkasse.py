"""Wikimedia's KafkaSSE, where it installs: it is compiled for the machine, which takes minutes and a compiler."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from millrace.errors import StackError

__all__ = ["CLIENTS", "VERSION", "command", "install"]

VERSION = "0.4.2"
CLIENTS = 200
"""It opens a consumer of Kafka for each client, with threads of its own: 2,000 would be more than 10,000 threads."""
_INSTALL_S = 1_800.0
_SERVER = Path(__file__).with_suffix(".js")


def install(folder: Path) -> Path:
    """The folder to run it in; made once. Raises ``StackError`` where it does not install."""
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
        # Its compiled part may be missing without an error of the installation.
        subprocess.run(["node", "-e", 'require("kafka-sse")'], cwd=target, check=True, capture_output=True, timeout=60)
    except (subprocess.SubprocessError, OSError) as error:
        raise StackError(f"KafkaSSE does not install here ({type(error).__name__})") from error
    done.touch()
    return target


def command(port: int, brokers: str) -> list[str]:
    """One process on one core, as ours is one; to be run in the folder that ``install`` returned."""
    return ["node", str(_SERVER), str(port), brokers]
