"""Misspelled settings are refused by name in variables, files and arguments."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import millrace
from local_stack.settings import load_stack_settings
from millrace.cli import main
from millrace.errors import InvalidSettingError, UsageError
from millrace.settings import load_settings


@pytest.fixture(autouse=True)
def only_settings_of_the_test(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.upper().startswith("MILLRACE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("MILLRACE_CASANDRA__PORT", "MILLRACE_CASSANDRA__PORT"),
        ("MILLRACE_CASSANDRA__PROT", "MILLRACE_CASSANDRA__PORT"),
        ("MILLRACE_CASSANDRA_PORT", "MILLRACE_CASSANDRA__PORT"),
        ("MILLRACE_KEYSPACE", "MILLRACE_CASSANDRA__KEYSPACE"),
        ("MILLRACE_REDIS__KEYSPACE", "MILLRACE_CASSANDRA__KEYSPACE"),
        ("MILLRACE_REDIS__URI", "MILLRACE_REDIS__URL"),
        ("MILLRACE_REDIS_URL", "MILLRACE_REDIS__URL"),
        ("millrace_redis__ulr", "MILLRACE_REDIS__URL"),
        ("MILLRACE_REDIS__URL__X", "MILLRACE_REDIS__URL"),
        ("MILLRACE_LOAD__CHUNK_SIZE", "MILLRACE_LOAD__CHUNK_BYTES"),
        ("MILLRACE_HOMES", "MILLRACE_HOME"),
        ("MILLRACE_CONFIGS", "MILLRACE_CONFIG"),
        ("MILLRACE_CASSANDRA_PORT_", "MILLRACE_CASSANDRA__PORT"),
        ("MILLRACE_KAFKA__CONFIGS__A", "MILLRACE_KAFKA__CONFIG"),
        ("MILLRACE_CASANDRA__PASSWORD", "MILLRACE_CASSANDRA__PASSWORD"),
        ("MILLRACE_BRIDG__PORT", "MILLRACE_BRIDGE__PORT"),
    ],
)
@pytest.mark.parametrize("load", [load_settings, load_stack_settings])
def test_an_unknown_variable_is_refused_with_the_nearest_known_one(
    monkeypatch: pytest.MonkeyPatch, variable: str, meant: str, load: object
) -> None:
    monkeypatch.setenv(variable, "secret-word")
    with pytest.raises(InvalidSettingError) as error:
        load()  # type: ignore[operator]
    assert f"unknown setting: {variable} (did you mean {meant}?)" in str(error.value)
    assert "secret-word" not in str(error.value)


def test_an_unknown_variable_unlike_any_other_is_refused_without_a_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_NONSENSE", "1")
    with pytest.raises(
        InvalidSettingError, match=r"unknown setting: MILLRACE_NONSENSE: docs/settings\.md lists them all"
    ):
        load_settings()


@pytest.mark.parametrize("variable", ["MILLRACE_TEST", "MILLRACE_PASSWORD", "MILLRACE_REDIS__PORT", "MILLRACE_URL"])
def test_an_ambiguous_variable_is_refused_without_a_suggestion(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(InvalidSettingError, match=rf"unknown setting: {variable}: docs/settings\.md"):
        load_settings()


def test_a_variable_of_the_stack_is_checked_by_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_STACK__PORT_OFSET", "1")
    load_settings()
    with pytest.raises(InvalidSettingError, match=r"MILLRACE_STACK__PORT_OFSET \(did you mean .*PORT_OFFSET\?\)"):
        load_stack_settings()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MILLRACE_DEBUG", "1"),
        ("MILLRACE_PYTHON", "python3"),
        ("MILLRACE_TEST_SEED", "7"),
        ("MILLRACE_CHROMIUM", "/usr/bin/chromium"),
        ("MILLRACE_CASSANDRA", '{"port": 9043}'),
        ("millrace_cassandra__port", "9043"),
        ("MILLRACE_KAFKA__CONFIG", '{"security.protocol": "SSL"}'),
        ("MILLRACE_KAFKA__CONFIG__linger", "5"),
        ("MILLRACE_SERVICE_HOST", "10.0.0.1"),
        ("MILLRACE_SERVICE_PORT", "8085"),
        ("MILLRACE_BRIDGE_SERVICE_PORT_HTTP", "8085"),
        ("MILLRACE_BRIDGE_PORT", "tcp://10.0.0.1:8085"),
        ("MILLRACE_BRIDGE_PORT_8085_TCP_ADDR", "10.0.0.1"),
    ],
)
def test_variables_with_a_meaning_are_accepted(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    load_settings()
    load_stack_settings()


@pytest.mark.parametrize("own", [True, False])
def test_an_unknown_key_in_either_file_is_refused_with_the_file(tmp_path: Path, own: bool) -> None:
    path = Path("millrace.toml") if own else tmp_path / "home" / "millrace.toml"
    path.write_text('[cassandra]\nkeyspce = "secret-word"\n[rediss]\nurl = ""\n[kafka.config]\nanything = "1"\n')
    with pytest.raises(InvalidSettingError) as error:
        load_settings()
    assert str(error.value) == (
        f"unknown setting: cassandra.keyspce (did you mean cassandra.keyspace?) in {path}; "
        f"rediss (did you mean redis.url?) in {path}: docs/settings.md lists them all"
    )


@pytest.mark.parametrize("text", ["[cassandra", "port = 1\nport = 2", '[redis]\nurl = "\xff'.encode("latin-1")])
def test_a_settings_file_that_is_not_toml_is_refused_with_its_name(text: str | bytes) -> None:
    Path("millrace.toml").write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(InvalidSettingError, match=r"millrace\.toml cannot be read as settings"):
        load_settings()


def test_a_missing_file_given_as_millrace_config_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_CONFIG", "nope.toml")
    with pytest.raises(InvalidSettingError, match=r"MILLRACE_CONFIG is .nope\.toml"):
        load_settings()
    monkeypatch.setenv("MILLRACE_CONFIG", "")
    load_settings()


@pytest.mark.parametrize("given", [".", "/dev/null", "a" * 5000])
def test_a_path_given_as_millrace_config_that_is_not_a_file_is_refused(
    monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("MILLRACE_CONFIG", given)
    with pytest.raises(InvalidSettingError, match=r"MILLRACE_CONFIG is '.*'; there is no such file"):
        load_settings()


@pytest.mark.parametrize("folder", ["millrace.toml", "home/millrace.toml"])
def test_a_folder_in_place_of_a_settings_file_is_refused(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    with pytest.raises(InvalidSettingError, match=r"millrace\.toml is not a file"):
        load_settings()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MILLRACE_KAFKA__CONFIG", "sasl.password=secret-word"),
        ("MILLRACE_REDIS", "redis://:secret-word@cache"),
        ("MILLRACE_LOAD", ""),
        ("millrace_read", '{"use_cache": secret-word}'),
        ("MILLRACE_CASSANDRA", "[secret-word"),
    ],
)
def test_a_variable_that_is_not_json_is_named_and_its_value_is_never_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert main(["ls"]) == 2
    message = capsys.readouterr().err
    name = variable.upper()
    assert message == (
        f"millrace: wrong setting: {variable} is not JSON: write {name}='{{\"NAME\": VALUE}}', "
        f"or set {name}__NAME alone\n"
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MILLRACE_REDIS", '"redis://:secret-word@cache"'),
        ("MILLRACE_KAFKA", '["secret-word"]'),
        ("MILLRACE_KAFKA__CONFIG", '"secret-word"'),
        ("MILLRACE_KAFKA__CONFIG", ""),
    ],
)
def test_a_value_in_place_of_a_table_is_refused_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidSettingError) as error:
        load_settings()
    assert str(error.value) == (
        f"wrong setting: {variable}: write it as a table in TOML, or as a JSON object in a variable"
    )


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ({"keyspace": "x"}, r"keyspace \(did you mean cassandra.keyspace\?\)"),
        ({"cassandra": {"keyspac": "x"}}, r"cassandra.keyspac \(did you mean cassandra.keyspace\?\)"),
        ({"cassandr": {"port": 1}}, r"cassandr \(did you mean cassandra.port\?\)"),
        ({"nonsense": {}}, "nonsense"),
    ],
)
def test_an_unknown_argument_of_connect_is_refused(overrides: dict[str, object], reason: str) -> None:
    with pytest.raises(InvalidSettingError, match=f"^unknown setting: {reason}"):
        millrace.connect(**overrides)


@pytest.mark.parametrize("given", ["other", {"cassandra": {"keyspace": "x"}}, 5])
def test_connect_takes_settings_or_sections_and_nothing_else(given: Any) -> None:
    with pytest.raises(UsageError, match=r"connect\(\) takes settings or sections of them"):
        millrace.connect(given)
    with pytest.raises(UsageError, match=r"connect\(\) takes settings or sections of them"):
        millrace.connect(load_settings(), cassandra={"keyspace": "x"})


def test_an_unknown_key_in_a_section_given_as_json_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_CASSANDRA", '{"prot": 9042}')
    with pytest.raises(InvalidSettingError, match=r"cassandra.prot \(did you mean cassandra.port\?\)"):
        load_settings()


def test_a_command_with_an_unknown_variable_exits_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MILLRACE_CASANDRA__PORT", "1")
    assert main(["ls"]) == 2
    assert "did you mean MILLRACE_CASSANDRA__PORT?" in capsys.readouterr().err
