"""The base class of every service: its address, its start and its readiness."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from local_stack.artifacts import class_path
from local_stack.machine import Sizes
from local_stack.ports import Port
from local_stack.processes import Started, read_pid_file
from local_stack.settings import StackSettings


@dataclass(frozen=True)
class StackLayout:
    """The settings and sizes of a stack, from which every service is made."""

    settings: StackSettings
    sizes: Sizes

    @property
    def home(self) -> Path:
        """Return the folder of everything local."""
        return self.settings.home

    def folder(self, *parts: str) -> Path:
        """Return a folder below ``home``, created if it was missing."""
        folder = self.home.joinpath(*parts)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def base_env(self) -> dict[str, str]:
        """Return the environment that every service starts from.

        PATH is the only variable taken from the caller, and no path is outside ``home``.
        """
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(self.folder("user")),
            "TMPDIR": str(self.folder("tmp")),
            "MILLRACE_HOME": str(self.home),
        }


class Service(ABC):
    """One process of the stack: ``name`` on the command line, ``grace_s`` seconds to end after SIGTERM."""

    name: str
    jars: ClassVar[str] = ""
    """The lock of the jars it runs from, if it is a Java program."""
    grace_s: ClassVar[float] = 10.0

    def __init__(self, place: StackLayout) -> None:
        self.place = place

    @property
    def log(self) -> Path:
        """Return the file that the process writes its output to."""
        return self.place.home / "logs" / f"{self.name}.log"

    @property
    def pid_file(self) -> Path:
        """Return the file that records the process between two commands."""
        return self.place.home / "run" / f"{self.name}.json"

    @property
    def started(self) -> Started | None:
        """Return the process last started under this name, alive or not, or None."""
        return read_pid_file(self.pid_file)

    @property
    def running(self) -> bool:
        """Return whether the process exists (frozen or not, ready or not)."""
        started = self.started
        return started is not None and started.process is not None

    @property
    @abstractmethod
    def address(self) -> str:
        """Return the address of the service as a user writes it."""

    @property
    @abstractmethod
    def memory_mb(self) -> int:
        """Return the resident memory to expect, in MiB."""

    @abstractmethod
    def ports(self) -> list[Port]:
        """Return every port that the process listens on."""

    def require(self) -> None:
        """Check that the files that the service runs from exist, before any service is started.

        Raises ``StackError`` if not.
        """
        if self.jars:
            class_path(self.jars, self.place.settings.maven_repository)

    @property
    def joins(self) -> tuple[str, ...]:
        """Return the services that must be ready before this one may start for the first time."""
        return ()

    @abstractmethod
    def prepare(self) -> None:
        """Create folders and configuration; called before every start, any number of times."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return the program and its arguments."""

    def env(self) -> dict[str, str]:
        """Return the environment of the process."""
        return self.place.base_env()

    def settle(self) -> None:
        """Finish the work that a first start leaves; called when the service is ready. The default does nothing."""
        return

    @abstractmethod
    def not_ready(self) -> str | None:
        """Ask the service itself once; return None if it is ready, otherwise the reason why it is not."""
