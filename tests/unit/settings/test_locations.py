"""A checkout keeps its data below itself, an installed package in the folders of the user."""

from __future__ import annotations

import ast
from pathlib import Path

import platformdirs
import pytest

from local_stack.settings import CHECKOUT
from millrace.settings import default_sources_file, load_settings, locations, millrace_home, run_hint
from millrace.settings.locations import home_settings_file


@pytest.fixture(autouse=True)
def folders_of_a_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.delenv("MILLRACE_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locations, "checkout", lambda: None)


def test_a_checkout_keeps_everything_below_itself() -> None:
    assert locations.checkout() == CHECKOUT
    assert millrace_home() == CHECKOUT / ".millrace"
    assert home_settings_file() == CHECKOUT / ".millrace" / "millrace.toml"
    assert run_hint("up kafka") == ": ./run up kafka"


@pytest.mark.usefixtures("installed")
def test_an_installed_package_uses_the_folders_of_the_user(tmp_path: Path) -> None:
    assert millrace_home() == tmp_path / "data" / "millrace" == platformdirs.user_data_path("millrace")
    assert home_settings_file() == tmp_path / "config" / "millrace" / "millrace.toml"
    assert run_hint("up kafka") == ""


def test_declared_sources_are_in_the_checkout_or_beside_the_settings_of_the_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert default_sources_file() == CHECKOUT / "conf" / "sources.yaml"
    monkeypatch.setattr(locations, "checkout", lambda: None)
    assert default_sources_file() == tmp_path / "config" / "millrace" / "sources.yaml"


@pytest.mark.usefixtures("installed")
def test_a_home_that_is_given_comes_before_the_folders_of_the_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "home"))
    assert millrace_home() == tmp_path / "home"
    assert home_settings_file() == tmp_path / "home" / "millrace.toml"


@pytest.mark.usefixtures("installed")
def test_the_file_of_the_working_directory_comes_before_that_of_the_user(tmp_path: Path) -> None:
    home_settings_file().parent.mkdir(parents=True)
    home_settings_file().write_text("[cassandra]\nkeyspace = 'users'\nport = 9043\n")
    (tmp_path / "millrace.toml").write_text("[cassandra]\nkeyspace = 'projects'\n")
    settings = load_settings()
    assert (settings.cassandra.keyspace, settings.cassandra.port) == ("projects", 9043)


def test_no_message_of_the_library_names_a_file_of_the_checkout() -> None:
    """Only ``run_hint`` writes ``./run``, and only in a checkout."""
    owner = CHECKOUT / "pipeline" / "millrace" / "settings" / "locations.py"
    naming = [
        f"{path}:{node.lineno}"
        for folder in ("pipeline", "sse_bridge", "dags", "plugins")
        for path in (CHECKOUT / folder).rglob("*.py")
        if path != owner
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "./run " in node.value
    ]
    # The docstring of the settings names the command that writes their file.
    assert [line.rpartition("/")[2] for line in naming] == ["tree.py:1"]
