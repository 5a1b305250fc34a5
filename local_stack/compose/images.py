"""The requirements of each image in ``docker-compose.yml``: its user, programs, mounted files and volumes.

The project is developed without a container engine, so a test checks each requirement against ``docker-compose.yml``.
The requirements come from the start code of the images: docker-library/cassandra 7b9da8f, apache/kafka (the class
``kafka.docker.KafkaDockerWrapper`` of the locked jar, docker/jvm/Dockerfile), docker-library/redis e924969, and the
``Dockerfile`` of this project.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["AIRFLOW", "BRIDGE", "CASSANDRA", "DEFAULT_MODE", "IMAGES", "KAFKA", "REDIS", "File", "Image"]

DEFAULT_MODE = 0o444
"""The mode with which Compose writes a ``config`` into a container; the owner is root."""


@dataclass(frozen=True)
class File:
    """One file that is mounted: the bits its mode must have, and the user it must belong to (None: any)."""

    mode: int
    owner: int | None = None


READ_BY_ALL = File(0o004)


@dataclass(frozen=True)
class Image:
    """One image, and its requirements on the service that uses it."""

    name: str
    uid: int
    """The id of the user that the program runs as."""
    programs: frozenset[str]
    """Programs that a command may begin with. They are in the image, and its entry point runs them unchanged."""
    files: Mapping[str, File] = field(default_factory=dict)
    """The files that may be mounted, by their path in the container."""
    folders: Mapping[str, int] = field(default_factory=dict)
    """The folders that may be volumes, with the id of their owner: a new volume takes the owner of the image's
    folder."""


CASSANDRA = Image(
    "cassandra:5.0.9",
    uid=999,
    programs=frozenset({"cassandra", "cqlsh", "nodetool"}),
    # The image's own entry point writes into both files, so it is replaced.
    files={"/etc/cassandra/cassandra.yaml": READ_BY_ALL, "/etc/cassandra/cassandra-rackdc.properties": READ_BY_ALL},
    folders={"/var/lib/cassandra": 999},
)
KAFKA = Image(
    "apache/kafka:4.3.1",
    uid=1000,
    programs=frozenset({"/opt/kafka/bin/kafka-topics.sh"}),
    # The image's set-up copies the file with its mode, and then opens its own copy for appending.
    files={"/mnt/shared/config/server.properties": File(0o604)},
    folders={"/var/lib/kafka/data": 1000},
)
# 7.2.15 is the first 7.2 release without the remote code execution of July 2026.
REDIS = Image("redis:7.2.15", uid=999, programs=frozenset({"redis-server", "redis-cli"}))
# The base image, python:3.12-slim-bookworm, has no entry point, and no curl for health checks.
BRIDGE = Image("millrace-bridge:0.1.0", uid=50_000, programs=frozenset({"python", "gunicorn"}))
AIRFLOW = Image(
    "millrace-airflow:0.1.0",
    uid=50_000,
    programs=frozenset({"python", "airflow"}),
    # SimpleAuthManager opens the file for reading and writing, even if it changes nothing.
    files={"/opt/millrace/airflow-passwords.json": File(0o600, owner=50_000)},
    folders={"/opt/airflow": 50_000},
)
IMAGES = {image.name: image for image in (CASSANDRA, KAFKA, REDIS, BRIDGE, AIRFLOW)}
