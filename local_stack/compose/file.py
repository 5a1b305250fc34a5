"""Render ``docker-compose.yml``: its header, its model and the YAML text of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from local_stack.compose import product, stores
from local_stack.compose.parts import NODES, config
from local_stack.services.cassandra import DATACENTER
from local_stack.settings import CHECKOUT
from local_stack.templating import render

__all__ = ["COMPOSE_FILE", "compose_file", "is_current", "model"]

COMPOSE_FILE = CHECKOUT / "docker-compose.yml"

HEADER = """\
# Millrace with Docker (Compose 2.23.1 or newer; the first line needs nothing but a shell):
#   ./run compose-env                          writes .env: Airflow's password (user admin), the bridge's token
#   docker compose up --detach --build
#   docker compose run --rm cli load flights /opt/millrace/inbox/flights.csv
#
# Rendered by `./run compose` from local_stack/; `./run check` verifies that it is current. Shape, start scripts'
# demands, commands and health checks are tested, but it has NOT been run where this project is developed.
#
# Same services, versions and settings as `./run up`. Ports are published on loopback only and moved by the same
# variables (MILLRACE_STACK__CASSANDRA_PORT=19042 docker compose up), the second node's by CASSANDRA_2_PORT.
#
# Known limits:
# - For one machine and its user: no store asks for a password or encrypts, and Airflow is `standalone` on SQLite with
#   keys of its own, for development by its own words. No container drops rights or has a memory or a log limit.
# - Programs on the host are sent on to the nodes' own addresses (172.30.85.11, .12), which only a Linux host reaches;
#   elsewhere they hold that node for down. `docker compose run --rm cli` works everywhere.
# - The subnet 172.30.85.0/24 is fixed: a VPN or a second checkout may hold it. There is no third node.
# - The Live tab in Airflow cannot keep a sign-in to the bridge: open the bridge's own address, with the token in .env.
# - With a moved port, links in Airflow's mails and logs still name 8080.
# - The files in .millrace/inbox must be readable for user 50000.
# - Heaps, the size of Redis and Airflow's parallelism are moved by no variable; PORT_OFFSET does nothing here.
# - The health checks cost about a core while the containers start, and some of it afterwards.
# - Three services name the image of the bridge, and each builds it; the second and third find it in the cache.
"""


def model() -> dict[str, Any]:
    """Return the Compose model: the services of the stack, ``init`` and ``cli``.

    ``init`` creates keyspace, tables and topic, as ``./run up`` does for the local stack.
    """
    return {
        "name": "millrace",
        "services": {
            **{name: stores.cassandra(number) for number, name in enumerate(NODES, 1)},
            "kafka": stores.kafka(),
            "redis": stores.redis(),
            "init": product.init(),
            "airflow": product.airflow(),
            "bridge": product.bridge(),
            "cli": product.cli(),
        },
        "networks": {"millrace": {"ipam": {"config": [{"subnet": f"{stores.SUBNET}.0/24"}]}}},
        "volumes": {name: {} for name in (*NODES, "kafka", "airflow")},
        "configs": {
            **{f"{name}.yaml": stores.cassandra_yaml(number) for number, name in enumerate(NODES, 1)},
            "rackdc.properties": config(render("cassandra-rackdc.properties", datacenter=DATACENTER)),
            "server.properties": stores.kafka_properties(),
            # Compose reads the variable when it creates a container: without it `up` fails, while `ps` and `down` work.
            "airflow-passwords": {"environment": "AIRFLOW_PASSWORDS"},
        },
    }


class _Dumper(yaml.SafeDumper):
    """A YAML dumper that writes texts of several lines as block scalars, and no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def compose_file() -> str:
    """Return the text of ``docker-compose.yml``."""
    return HEADER + yaml.dump(model(), Dumper=_Dumper, sort_keys=False, width=120)


def is_current(path: Path = COMPOSE_FILE) -> bool:
    """Return whether the file equals the text that would be rendered now."""
    return path.exists() and path.read_text() == compose_file()
