"""Kafka: one broker that is its own controller (KRaft)."""

from __future__ import annotations

import subprocess

from local_stack.ports import Port
from local_stack.services.base import Service, StackLayout
from local_stack.services.java import java_command
from local_stack.settings import ENV_PREFIX
from local_stack.templating import render
from millrace.errors import StackError

READY_TOPIC = "millrace.stack.ready"
"""Written at every start to check that a topic can be written. No consumer reads it."""
CLUSTER_ID = "bWlsbHJhY2UtbG9jYWwtMQ"
"""The id of the cluster that owns the data: 16 bytes in base64, as Kafka requires. The same for every local stack."""
PROBE_TIMEOUT_S = 5.0
FLAGS = ["-XX:TieredStopAtLevel=1"]
"""A few events per second need no optimising compiler. Its work at the start would delay the other services."""


class Kafka(Service):
    """The broker. It is ready when a record written with acks=all was acknowledged."""

    name = "kafka"
    jars = "kafka"
    grace_s = 20.0

    def __init__(self, place: StackLayout) -> None:
        super().__init__(place)
        self.data = place.home / "data" / self.name
        self.properties = place.home / "conf" / self.name / "server.properties"

    @property
    def address(self) -> str:
        """Return the bootstrap server."""
        return f"127.0.0.1:{self.place.settings.port('kafka')}"

    @property
    def memory_mb(self) -> int:
        """Return the memory in MiB: heap, metaspace, threads, code."""
        return self.place.settings.kafka_heap_mb + 250

    def ports(self) -> list[Port]:
        """Return the ports of clients and of the controller."""
        settings = self.place.settings
        return [
            Port("127.0.0.1", settings.port("kafka"), f"{ENV_PREFIX}KAFKA_PORT"),
            Port("127.0.0.1", settings.port("kafka_controller"), f"{ENV_PREFIX}KAFKA_CONTROLLER_PORT"),
        ]

    def prepare(self) -> None:
        """Render the configuration, and format the storage if that was not done."""
        settings = self.place.settings
        self.place.folder("conf", self.name)
        self.place.folder("data", self.name)
        self.properties.write_text(
            render(
                "server.properties",
                listeners=[{"name": "PLAINTEXT", "listen": self.address, "advertised": self.address}],
                controller_port=settings.port("kafka_controller"),
                folder=self.data,
            )
        )
        (self.properties.parent / "log4j2.properties").write_text(render("log4j2.properties"))
        if not (self.data / "meta.properties").exists():
            self._format()

    def _format(self) -> None:
        command = java_command(
            self.place, "kafka", "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(self.properties),
            heap_mb=256, conf=self.name,
        )  # fmt: skip
        done = subprocess.run(command, env=self.env(), capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            raise StackError(
                f"kafka: the storage could not be formatted: {(done.stderr or done.stdout).strip()[-500:]}"
            )

    def command(self) -> list[str]:
        """Return the command of the broker, which runs in the foreground of its own session."""
        settings = self.place.settings
        return java_command(
            self.place, "kafka", "kafka.Kafka", str(self.properties), heap_mb=settings.kafka_heap_mb,
            flags=[f"-Xms{settings.kafka_heap_mb // 2}m", "-Dlog4j2.disableJmx=true", *FLAGS], conf=self.name,
        )  # fmt: skip

    def not_ready(self) -> str | None:
        """Create the probe topic if it is missing, and write one record with acks=all."""
        if not self.ports()[0].is_open():
            return f"no process listens on {self.address}"
        from confluent_kafka import KafkaError, KafkaException, Producer
        from confluent_kafka.admin import AdminClient
        from confluent_kafka.cimpl import NewTopic

        client: dict[str, str | int | float | bool] = {"bootstrap.servers": self.address, "log_level": 0}
        topic = NewTopic(READY_TOPIC, num_partitions=1, replication_factor=1, config={"retention.ms": "3600000"})
        try:
            admin = AdminClient(client)  # must exist until its future is done
            admin.create_topics([topic], request_timeout=PROBE_TIMEOUT_S)[READY_TOPIC].result(PROBE_TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                return f"no topic can be created: {error.args[0].str()}"
        except TimeoutError:
            return f"no topic could be created within {PROBE_TIMEOUT_S:g} s"
        refused: list[str] = []
        producer = Producer({**client, "acks": "all", "message.timeout.ms": int(PROBE_TIMEOUT_S * 1000)})
        producer.produce(READY_TOPIC, b"ready", callback=lambda e, _: refused.append(e.str()) if e else None)
        unsent = producer.flush(PROBE_TIMEOUT_S + 1)
        return f"a record was not acknowledged: {refused or 'no answer'}" if refused or unsent else None
