from __future__ import annotations

import pytest

from local_stack.settings import MAX_NODES, load_stack_settings
from millrace.errors import InvalidSettingError


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("CASSANDRA_PORT", "70000", "less than or equal to 65535"),
        ("CASSANDRA_PORT", "many", "valid integer"),
        ("PORT_OFFSET", "-1", "greater than or equal to 0"),
        ("KAFKA_HEAP_MB", "1", "greater than or equal to 256"),
        ("START_TIMEOUT_S", "0", "greater than 0"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name_and_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(f"MILLRACE_STACK__{name}", value)
    with pytest.raises(InvalidSettingError, match=reason) as refused:
        load_stack_settings()
    assert f"MILLRACE_STACK__{name} is {value!r}" in str(refused.value)


def test_two_services_on_one_port_are_refused_with_both_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_STACK__REDIS_PORT", "9092")
    with pytest.raises(InvalidSettingError, match="REDIS_PORT and MILLRACE_STACK__KAFKA_PORT"):
        load_stack_settings()


@pytest.mark.parametrize("node", [1, 2, MAX_NODES])
def test_a_service_on_a_java_management_port_of_a_node_is_refused_with_both_names(
    monkeypatch: pytest.MonkeyPatch, node: int
) -> None:
    monkeypatch.setenv("MILLRACE_STACK__PORT_OFFSET", "0")
    monkeypatch.setenv("MILLRACE_STACK__CASSANDRA_JMX_PORT", "9000")
    monkeypatch.setenv("MILLRACE_STACK__KAFKA_PORT", f"{9000 + node}")
    with pytest.raises(InvalidSettingError, match=rf"_JMX_PORT plus {node} and .*KAFKA_PORT are both {9000 + node}"):
        load_stack_settings()


@pytest.mark.parametrize("port", ["9000", f"{9001 + MAX_NODES}"])
def test_a_service_beside_the_java_management_ports_is_accepted(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    monkeypatch.setenv("MILLRACE_STACK__PORT_OFFSET", "0")
    monkeypatch.setenv("MILLRACE_STACK__CASSANDRA_JMX_PORT", "9000")
    monkeypatch.setenv("MILLRACE_STACK__KAFKA_PORT", port)
    assert load_stack_settings().kafka_port == int(port)


def test_java_management_ports_past_the_last_port_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_STACK__PORT_OFFSET", "40")
    monkeypatch.setenv("MILLRACE_STACK__CASSANDRA_JMX_PORT", "65490")
    with pytest.raises(InvalidSettingError, match=r"JMX_PORT plus 6 with .*PORT_OFFSET is 65536, above 65535"):
        load_stack_settings()


def test_an_offset_that_leads_past_the_last_port_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_STACK__PORT_OFFSET", "50000")
    monkeypatch.setenv("MILLRACE_STACK__AIRFLOW_PORT", "18080")
    with pytest.raises(InvalidSettingError, match=r"AIRFLOW_PORT with .*PORT_OFFSET is 68080"):
        load_stack_settings()


def test_the_offset_moves_every_port(monkeypatch: pytest.MonkeyPatch) -> None:
    names = (
        "cassandra",
        "cassandra_storage",
        "cassandra_jmx",
        "kafka",
        "kafka_controller",
        "redis",
        "airflow",
        "bridge",
    )
    monkeypatch.setenv("MILLRACE_STACK__PORT_OFFSET", "0")
    before = load_stack_settings()
    monkeypatch.setenv("MILLRACE_STACK__PORT_OFFSET", "1000")
    after = load_stack_settings()
    assert [after.port(name) - before.port(name) for name in names] == [1000] * len(names)
