"""Without the extra of a service, the service counts as switched off, and the reason names the extra."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from millrace.doctor import diagnosis
from millrace.progress import NullSink, kafka_sink
from millrace.settings import KafkaSettings, RedisSettings, Settings
from millrace.settings.extras import missing_extra


@pytest.fixture(autouse=True)
def found_again() -> Iterator[None]:
    missing_extra.cache_clear()
    yield
    missing_extra.cache_clear()


def test_with_its_extra_a_service_is_on() -> None:
    assert RedisSettings().switched_off == ""
    assert KafkaSettings().switched_off == ""


@pytest.mark.parametrize("module", ["redis", "hiredis"])
def test_without_the_extra_redis_there_is_no_cache(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert RedisSettings().switched_off == f"{module} is not installed: pip install 'millrace[redis]'"
    assert KafkaSettings().switched_off == ""


def test_without_the_extra_kafka_events_go_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    assert KafkaSettings().switched_off == "confluent_kafka is not installed: pip install 'millrace[kafka]'"
    assert isinstance(kafka_sink(KafkaSettings()), NullSink)


def test_an_empty_address_is_the_reason_with_and_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    assert KafkaSettings(bootstrap_servers="").switched_off == "MILLRACE_KAFKA__BOOTSTRAP_SERVERS is empty"
    assert RedisSettings(url="").switched_off == "MILLRACE_REDIS__URL is empty"  # type: ignore[arg-type]


def test_doctor_names_each_missing_extra_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("redis", "confluent_kafka"):
        monkeypatch.setitem(sys.modules, module, None)
    checks = [diagnosis._redis(Settings()), diagnosis._kafka(Settings())]
    assert [(check.name, check.state, check.result) for check in checks] == [
        ("redis", "warning", "switched off (redis is not installed: pip install 'millrace[redis]')"),
        ("kafka", "warning", "switched off (confluent_kafka is not installed: pip install 'millrace[kafka]')"),
    ]
