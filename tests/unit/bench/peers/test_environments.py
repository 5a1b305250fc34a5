"""Requirements of peers: locked with hashes, and modules that need no package of the project."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path
from typing import Any

import pytest

import bench.peers
from bench.peers import environments
from bench.peers.environments import interpreter, locked_version
from bench.training.contestants import PEERS
from millrace.errors import StackError

FOLDER = Path(bench.peers.__file__).parent


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_peer_has_locked_requirements_with_its_package(peer: Any) -> None:
    assert locked_version(peer.name, peer.package)
    requirements = (FOLDER / f"{peer.name}.txt").read_text().replace("\\\n", " ").splitlines()
    assert all("==" in line and "--hash=sha256:" in line for line in requirements)


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_the_module_of_a_peer_imports_no_other_module_of_the_project(peer: Any) -> None:
    module = FOLDER / f"{peer.work.partition(':')[0].rpartition('.')[2]}.py"
    imported = {node.module for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.ImportFrom)}
    assert {name for name in imported if name and name.partition(".")[0] in ("bench", "millrace")} == {"bench.epochs"}


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """Return the commands of uv, which are not run; uv itself counts as fetched."""
    calls: list[list[str]] = []

    def run(command: list[str], **_options: Any) -> subprocess.CompletedProcess[bytes]:
        calls.append(command[1:])
        if command[1] == "venv":
            Path(command[-1]).mkdir(parents=True)
        return subprocess.CompletedProcess(command, 1 if "fail" in "".join(command) else 0)

    monkeypatch.setattr(environments, "fetch", lambda target, _locked, **_how: target)
    monkeypatch.setattr(environments.subprocess, "run", run)
    return calls


def test_an_environment_is_installed_once_and_used_again(commands: list[list[str]], tmp_path: Path) -> None:
    first = interpreter("webdataset", tmp_path, python="3.12")
    assert [command[0] for command in commands] == ["venv", "pip"]
    assert commands[0][-2] == "3.12"
    assert "--require-hashes" in commands[1]
    assert interpreter("webdataset", tmp_path, python="3.12") == first
    assert len(commands) == 2


def test_an_environment_that_cannot_be_installed_is_an_error_with_the_peers_name(
    commands: list[list[str]], tmp_path: Path
) -> None:
    with pytest.raises(StackError, match="webdataset could not be installed"):
        interpreter("webdataset", tmp_path / "fail")
    assert len(commands) == 1
