"""The wheel of this checkout, and empty environments into which it is installed outside the checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from local_stack.settings import CHECKOUT

SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "pipeline", "sse_bridge", "dags")
BUILD_S = 120
INSTALL_S = 280
COMMAND_S = 120
FOREIGN_MODULE = "raise RuntimeError('the pipeline of another project')\n"


def pip(*arguments: str, timeout_s: float) -> None:
    # pip takes packages on the path of this process for installed ones.
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = {"PIP_CACHE_DIR": str(CHECKOUT / ".millrace" / "cache" / "pip"), **own}
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout_s
    )
    assert done.returncode == 0, done.stdout


@dataclass(frozen=True)
class Environment:
    """A virtual environment with the wheel, its own home, and a working directory with a file named ``pipeline.py``."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def scripts(self) -> Path:
        return self.folder / "bin"

    @property
    def working_directory(self) -> Path:
        return self.folder / "work"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def packages(self) -> set[str]:
        """The names of the installed packages."""
        return {path.name.partition("-")[0] for path in self.folder.glob("lib/python3*/site-packages/*.dist-info")}

    def process_environment(self) -> dict[str, str]:
        """Return the variables of a process: nothing of the checkout or of the test run except ``variables``."""
        path = f"{self.scripts}{os.pathsep}{os.environ['PATH']}"
        return {"PATH": path, "HOME": str(self.home), "PYTHONWARNINGS": "error", **self.variables}

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment by its name."""
        return subprocess.run(
            [str(self.scripts / command[0]), *command[1:]],
            env={**self.process_environment(), **variables},
            cwd=self.working_directory,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )

    def millrace(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run ``millrace`` and expect success."""
        done = self.run("millrace", *arguments, **variables)
        assert done.returncode == 0, done.stderr
        return done


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of its sources, so that the checkout stays as it is."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        source = CHECKOUT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(folder), timeout_s=BUILD_S)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def constraints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with the locked versions, which pip has in its cache."""
    lock = (CHECKOUT / "requirements.txt").read_text()
    path = tmp_path_factory.mktemp("constraints") / "constraints.txt"
    lines = re.findall(r"^([^\s#].*?) \\$", lock, re.MULTILINE)
    path.write_text("".join(re.sub(r"\[.*?\]", "", line) + "\n" for line in lines))  # pip refuses extras
    return path


Install = Callable[..., Environment]


@pytest.fixture(scope="session")
def install(wheel: Path, constraints: Path, tmp_path_factory: pytest.TempPathFactory) -> Install:
    """Return a function that makes an environment with the wheel and one extra, once for each pair of arguments."""
    made: dict[tuple[str, str], Environment] = {}

    def make(extra: str = "", python: str = sys.executable) -> Environment:
        if (extra, python) not in made:
            environment = Environment(tmp_path_factory.mktemp(f"environment-{extra}"))
            folder = environment.folder
            subprocess.run([python, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=COMMAND_S)
            environment.home.mkdir()
            environment.working_directory.mkdir()
            (environment.working_directory / "pipeline.py").write_text(FOREIGN_MODULE)
            target = f"{wheel}[{extra}]" if extra else str(wheel)
            into = ("--python", str(environment.scripts / "python"))
            pip(*into, "install", "--no-compile", "-c", str(constraints), target, timeout_s=INSTALL_S)
            made[extra, python] = environment
        return made[extra, python]

    return make
