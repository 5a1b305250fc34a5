"""What the stack knows of a service: where it listens, how it starts, when it is ready."""

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
class Place:
    """Where a stack lives and how large it is: what every service is made from."""

    settings: StackSettings
    sizes: Sizes

    @property
    def home(self) -> Path:
        """Everything local lies below this folder."""
        return self.settings.home

    def folder(self, *parts: str) -> Path:
        """Return a folder below ``home``, made if it was missing."""
        folder = self.home.joinpath(*parts)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def base_env(self) -> dict[str, str]:
        """What every service starts from: nothing of the caller's but PATH, no file outside ``home``."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(self.folder("user")),
            "TMPDIR": str(self.folder("tmp")),
            "MILLRACE_HOME": str(self.home),
        }


class Service(ABC):
    """One process of the stack. ``name`` is what people type; ``grace_s`` is how long SIGTERM may take."""

    name: str
    jars: ClassVar[str] = ""
    """The lock of the jars it runs from, if it is a Java program."""
    grace_s: ClassVar[float] = 10.0

    def __init__(self, place: Place) -> None:
        self.place = place

    @property
    def log(self) -> Path:
        """Where the process writes what it has to say."""
        return self.place.home / "logs" / f"{self.name}.log"

    @property
    def pid_file(self) -> Path:
        """What remembers the process between two commands."""
        return self.place.home / "run" / f"{self.name}.json"

    @property
    def started(self) -> Started | None:
        """The process last started under this name, alive or not."""
        return read_pid_file(self.pid_file)

    @property
    def running(self) -> bool:
        """Whether the process is there (frozen or not, ready or not)."""
        started = self.started
        return started is not None and started.process is not None

    @property
    @abstractmethod
    def address(self) -> str:
        """Where to reach the service, as people write it."""

    @property
    @abstractmethod
    def memory_mb(self) -> int:
        """Resident memory to expect, in MiB."""

    @abstractmethod
    def ports(self) -> list[Port]:
        """Every port the process listens on."""

    def require(self) -> None:
        """Return if what the service runs from is there; StackError if not. Runs before anything is started."""
        if self.jars:
            class_path(self.jars, self.place.settings.maven_repository)

    @property
    def joins(self) -> tuple[str, ...]:
        """The services that must be ready before this one may start for the first time."""
        return ()

    @abstractmethod
    def prepare(self) -> None:
        """Make folders and configuration; runs before every start and may run any number of times."""

    @abstractmethod
    def command(self) -> list[str]:
        """The program and its arguments."""

    def env(self) -> dict[str, str]:
        """The environment of the process."""
        return self.place.base_env()

    def settle(self) -> None:
        """Finish what a first start leaves to be done; called when the service is ready, and may do nothing."""
        return

    @abstractmethod
    def not_ready(self) -> str | None:
        """Ask the service itself once; return None when it does its work, else what is still missing."""
