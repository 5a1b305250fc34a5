"""``millrace config``: values with their sources, and no secret."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from millrace.cli.app import run
from millrace.settings import Settings, load_settings
from millrace.settings.fields import setting_fields
from millrace.settings.values import example_toml, setting_values


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Make ``tmp_path`` the home and working directory, with a settings file in it."""
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "millrace.toml").write_text('[cassandra]\nport = 9999\nkeyspace = "of_the_file"\n')
    return tmp_path


def test_each_setting_has_its_value_and_source(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("MILLRACE_CASSANDRA__KEYSPACE", "of_the_variable")
    settings_by_name = {each.name: each for each in setting_values()}
    assert list(settings_by_name) == [f"{section}.{name}" for section, name, _ in setting_fields(Settings)]
    keyspace, port, dc = (settings_by_name[f"cassandra.{name}"] for name in ("keyspace", "port", "local_dc"))
    assert (keyspace.value, keyspace.source) == ("of_the_variable", "MILLRACE_CASSANDRA__KEYSPACE")
    assert (port.value, Path(port.source).resolve()) == (9999, home / "millrace.toml")
    assert (dc.value, dc.source) == ("dc1", "default")


@pytest.mark.parametrize("url", ["redis://user:***@host:6379/1", "redis://host:6379?password=***&db=1"])
def test_no_secret_is_shown(url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MILLRACE_CASSANDRA__PASSWORD", "geheim1")
    monkeypatch.setenv("MILLRACE_REDIS__URL", url.replace("***", "geheim2"))
    monkeypatch.setenv("MILLRACE_KAFKA__CONFIG", '{"sasl.password": "geheim4"}')
    monkeypatch.setenv("MILLRACE_BRIDGE__TOKEN", "geheim5" * 4)
    assert run(["config"]) == 0
    assert run(["config", "--json"]) == 0
    shown = capsys.readouterr().out
    assert "geheim" not in shown
    assert url in shown


def test_json_has_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "--json"]) == 0
    settings = json.loads(capsys.readouterr().out)["settings"]
    assert {"name": "load.codec", "value": "gzip", "source": "default"} in settings


def test_the_example_file_holds_the_default_of_every_setting(home: Path) -> None:
    text = example_toml()
    assert set(tomllib.loads(text)) == set(Settings.model_fields)
    given = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)
    values = {
        section: {name: value for name, value in part.items() if value != ""}  # an empty string means None
        for section, part in tomllib.loads(given).items()
    }
    assert [f"{section}.{name}" for section, part in tomllib.loads(given).items() for name in part] == [
        f"{section}.{name}" for section, name, _ in setting_fields(Settings)
    ]
    (home / "millrace.toml").unlink()
    assert load_settings(**values) == load_settings()


def test_a_wrong_setting_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MILLRACE_CASSANDRA__PORT", "0")
    assert run(["config"]) == 2
    assert "MILLRACE_CASSANDRA__PORT" in capsys.readouterr().err
