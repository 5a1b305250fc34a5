"""Isolate the Airflow tests from settings and connections of the machine."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.airflow_home import use_airflow_home

use_airflow_home()


@pytest.fixture(autouse=True)
def only_settings_of_the_test(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith(("MILLRACE_", "AIRFLOW_CONN_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path_factory.mktemp("home")))
    from millrace.airflow.links import bridge_url

    bridge_url.cache_clear()
    yield
    bridge_url.cache_clear()
