"""Run the examples of a page of documentation as they are written, on an in-memory store."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import millrace
from millrace.api import Store
from millrace.cli.app import run

Block = tuple[str, str]


def blocks(text: str) -> list[Block]:
    """Return the language and the content of each code block."""
    return re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@contextmanager
def connected(store: Store, folder: Path) -> Iterator[None]:
    """Let ``connect()`` and every command use the store, with ``folder`` as working directory and on Python's path.

    ``training.yaml`` in the folder is the file of declared training data.
    """

    @contextmanager
    def connect(*_arguments: Any, **_options: Any) -> Iterator[Store]:
        yield store

    kafka = store.settings.kafka.model_copy(update={"bootstrap_servers": ""})
    training = store.settings.training.model_copy(update={"file": str(folder / "training.yaml")})
    store.settings = store.settings.model_copy(update={"kafka": kafka, "training": training})
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Store, "connect", lambda _settings: store)
        patched.setattr(millrace, "connect", connect)
        patched.setenv("MILLRACE_KAFKA__BOOTSTRAP_SERVERS", "")
        patched.setenv("MILLRACE_TRAINING__FILE", str(folder / "training.yaml"))
        patched.chdir(folder)
        patched.syspath_prepend(folder)
        yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


@dataclass
class Examples:
    """The names of the Python examples so far, and the commands that ran."""

    folder: Path
    names: dict[str, Any] = field(default_factory=dict)
    commands: list[list[str]] = field(default_factory=list)

    def run(self, block: Block) -> None:
        """Run a block of Python or of commands; keep a module in the folder; declare the entries of YAML."""
        language, content = block
        if language == "python" and "\ndef train(" in content:
            name = re.search(r"^ *train: (\w+):train$", (self.folder / "training.yaml").read_text(), re.MULTILINE)
            assert name is not None
            (self.folder / f"{name[1]}.py").write_text(content)
        elif language == "python":
            exec(content, self.names)
        elif language == "yaml" and content.startswith("training:"):
            (self.folder / "training.yaml").write_text(content)
        elif not language:
            for line in content.splitlines():
                self.commands.append(shlex.split(line)[1:])
                assert run(self.commands[-1]) == 0, line
