"""Settings of the local stack: ports, sizes and paths, all checked before anything starts.

Each is an environment variable ``MILLRACE_STACK__<NAME>``. ``MILLRACE_HOME`` is the folder of everything local.
"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from millrace.errors import InvalidSettingError
from millrace.settings import Settings, millrace_home, unknown_variables

__all__ = ["CHECKOUT", "StackSettings", "load_stack_settings"]

CHECKOUT = Path(__file__).resolve().parent.parent
PYTHON_PATH = f"{CHECKOUT}{os.pathsep}{CHECKOUT / 'pipeline'}"
"""The path for a Python that has no editable install of this checkout."""
ENV_PREFIX = "MILLRACE_STACK__"
MAX_NODES = 8
"""The largest number of Cassandra nodes."""


class StackSettings(BaseSettings):
    """The ports, memory sizes and paths of the local stack.

    A size of 0 means that it is chosen by the machine's memory. ``port_offset`` is added to every port, so that two
    stacks can run side by side.
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="ignore", frozen=True)

    port_offset: int = Field(default=0, ge=0, le=50_000)
    """Added to every port, so that two stacks can run side by side."""
    cassandra_port: int = Field(default=9042, ge=1, le=65_535)
    """The port of Cassandra for CQL."""
    cassandra_storage_port: int = Field(default=7000, ge=1, le=65_535)
    """The port on which the nodes of Cassandra connect to each other."""
    cassandra_jmx_port: int = Field(default=7199, ge=1, le=65_500)
    """Node n serves Java Management on this port plus n."""
    kafka_port: int = Field(default=9092, ge=1, le=65_535)
    """The port of Kafka for clients."""
    kafka_controller_port: int = Field(default=9093, ge=1, le=65_535)
    """The port of Kafka's controller."""
    redis_port: int = Field(default=6379, ge=1, le=65_535)
    """The port of Redis."""
    airflow_port: int = Field(default=8080, ge=1, le=65_535)
    """The port of Airflow's web server."""
    bridge_port: int = Field(default=8085, ge=1, le=65_535)
    """The port of the bridge."""

    cassandra_heap_mb: int = Field(default=0, ge=0, le=31_744)
    """Heap of each Cassandra node in MiB; 0 chooses it by the machine's memory."""
    kafka_heap_mb: int = Field(default=512, ge=256, le=8192)
    """Heap of Kafka in MiB."""
    redis_maxmemory_mb: int = Field(default=0, ge=0)
    """Memory of Redis in MiB; 0 chooses it by the machine's memory."""
    airflow_parallelism: int = Field(default=4, ge=1, le=64)
    """How many tasks Airflow runs at once."""

    airflow_dags_folder: Path = CHECKOUT / "dags"
    """The folder whose DAGs Airflow runs."""

    start_timeout_s: float = Field(default=300.0, gt=0, le=3600)
    """Seconds that one service may take from its start until it is ready."""
    maven_repository: Path = CHECKOUT / ".millrace" / "maven"
    """The folder of the jars. Each start checks them against the lock, so stacks of one checkout share them."""

    home: Path = Field(default_factory=millrace_home)
    """The folder of everything local."""

    def port(self, name: str) -> int:
        """Return the port of ``name`` (``cassandra``, ``kafka_controller``, ...) with the offset added."""
        return int(getattr(self, f"{name}_port")) + self.port_offset


def load_stack_settings() -> StackSettings:
    """Return the settings in force.

    Raises ``InvalidSettingError`` with name and range for a wrong value. It is also raised for an unknown variable,
    with the nearest known name: a misspelled port would start a stack on the default ports.
    """
    own = [f"{ENV_PREFIX}{name.upper()}" for name in StackSettings.model_fields if name != "home"]
    if unknown := unknown_variables(Settings, further=own):
        raise InvalidSettingError(f"unknown setting: {'; '.join(unknown)}")
    try:
        settings = StackSettings(home=millrace_home())
    except ValidationError as error:
        messages = [
            f"{ENV_PREFIX}{str(e['loc'][0]).upper()} is {e['input']!r}: {e['msg'][:1].lower()}{e['msg'][1:]}"
            for e in error.errors(include_url=False)
        ]
        raise InvalidSettingError("wrong setting: " + "; ".join(messages)) from None
    _check_ports(settings)
    return settings


def _check_ports(settings: StackSettings) -> None:
    """Raise ``InvalidSettingError`` for a port above 65535, and for two services on one port.

    The ports of Java Management of all nodes count, also those of nodes that do not exist yet.
    """
    # Each node has its own address, but the first one is 127.0.0.1, which all other services share.
    services = ("cassandra", "cassandra_storage", "kafka", "kafka_controller", "redis", "airflow", "bridge")
    ports = [(f"{ENV_PREFIX}{name.upper()}_PORT", settings.port(name)) for name in services]
    jmx_port = settings.port("cassandra_jmx")
    ports += [(f"{ENV_PREFIX}CASSANDRA_JMX_PORT plus {node}", jmx_port + node) for node in range(1, MAX_NODES + 1)]
    settings_by_port: dict[int, str] = {}
    for setting, port in ports:
        if port > 65_535:
            raise InvalidSettingError(f"wrong setting: {setting} with {ENV_PREFIX}PORT_OFFSET is {port}, above 65535")
        if port in settings_by_port:
            raise InvalidSettingError(f"wrong setting: {setting} and {settings_by_port[port]} are both {port}")
        settings_by_port[port] = setting
