"""``docker-compose.yml`` meets the requirements of the images' start code (``local_stack.compose.images``)."""

from __future__ import annotations

import re
from typing import Any

import pytest

from local_stack.compose.images import AIRFLOW, BRIDGE, DEFAULT_MODE, IMAGES
from local_stack.settings import CHECKOUT
from tests.compose_file import health_command, read_compose

SERVICES: dict[str, dict[str, Any]] = read_compose()["services"]
DOCKERFILE = (CHECKOUT / "Dockerfile").read_text()
OF_EVERY_SHELL = {"test", "grep"}

each_service = pytest.mark.parametrize("name", list(SERVICES))


def first_words(command: list[str]) -> set[str]:
    """Return the programs that a command calls: its first word, or the first of each part of a shell's line."""
    if command[:2] != ["/bin/sh", "-c"]:
        return {command[0]}
    line = re.sub(r"'[^']*'", "''", command[2])
    parts = re.split(r"&&|\||\$\(", line)
    return {part.split()[0] for part in parts if part.strip()}


@each_service
def test_the_first_word_of_its_command_is_a_program_that_the_images_entry_point_passes_on(name: str) -> None:
    service = SERVICES[name]
    image = IMAGES[service["image"]]
    command = service.get("entrypoint", []) + service.get("command", [])
    assert not command or command[0] in image.programs
    # Without both, the image's own command runs. That is intended for Kafka only.
    assert command or name == "kafka"


@each_service
def test_its_health_check_calls_programs_of_the_image_only(name: str) -> None:
    service = SERVICES[name]
    if "healthcheck" in service:
        words = first_words(health_command(service)) - OF_EVERY_SHELL
        assert words <= IMAGES[service["image"]].programs
        assert words


@each_service
def test_its_mounted_files_have_the_mode_and_the_owner_that_the_image_needs(name: str) -> None:
    service = SERVICES[name]
    files = IMAGES[service["image"]].files
    for mounted in service.get("configs", []):
        demand = files[mounted["target"]]
        mode = int(mounted["mode"], 8) if "mode" in mounted else DEFAULT_MODE
        assert mode & demand.mode == demand.mode, f"{mounted['target']} has {mode:o}"
        assert demand.owner is None or int(mounted.get("uid", 0)) == demand.owner


@each_service
def test_its_volumes_are_in_folders_owned_by_the_user_it_runs_as(name: str) -> None:
    service = SERVICES[name]
    image = IMAGES[service["image"]]
    for volume in service.get("volumes", []):
        if isinstance(volume, str):
            assert image.folders[volume.split(":")[1]] == image.uid


def test_a_password_is_readable_only_by_its_owner_in_the_container() -> None:
    (mounted,) = SERVICES["airflow"]["configs"]
    assert int(mounted["mode"], 8) & 0o077 == 0


def test_the_data_on_our_images_matches_the_dockerfile() -> None:
    assert f"useradd --uid {BRIDGE.uid} --gid 0" in DOCKERFILE
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE)[-1] == str(AIRFLOW.uid)
    for folder, owner in AIRFLOW.folders.items():
        assert f"install --directory --owner={owner} --group=0 {folder}" in DOCKERFILE
        assert f"ENV AIRFLOW_HOME={folder}" in DOCKERFILE
    assert "ENTRYPOINT" not in DOCKERFILE, "the programs in the data are passed on because there is none"
