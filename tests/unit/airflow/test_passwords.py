"""Airflow reads the passwords file that ``docker-compose.yml`` mounts and ``./run compose-env`` generates."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.compose_file import read_compose


# Dependencies of Airflow warn when they are first imported.
@pytest.mark.filterwarnings("ignore:Using `httpx` with")
@pytest.mark.filterwarnings("ignore:The anyio.abc.BlockingPortal alias")
def test_airflow_uses_the_mounted_password_and_neither_changes_nor_prints_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

    airflow = read_compose()["services"]["airflow"]
    (mounted,) = airflow["configs"]
    setting = "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"
    assert airflow["environment"][setting] == mounted["target"]
    passwords = tmp_path / "passwords.json"
    passwords.write_text(json.dumps({"admin": "known to the person"}))
    passwords.chmod(int(mounted["mode"], 8))
    monkeypatch.setenv(setting, str(passwords))
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "admin:admin")
    for _ in range(2):  # a second container with the same file keeps the password
        SimpleAuthManager().init()
        assert SimpleAuthManager.get_passwords() == {"admin": "known to the person"}
    assert json.loads(passwords.read_text()) == {"admin": "known to the person"}
    assert "Password" not in capsys.readouterr().out
    assert stat.S_IMODE(passwords.stat().st_mode) == 0o600
