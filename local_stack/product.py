"""Write ``millrace.toml`` with the settings of this stack into its home folder.

Environment variables and the user's own ``millrace.toml`` override it.
"""

from __future__ import annotations

import json

from local_stack.processes import read_pid_file
from local_stack.services.airflow import KEYSPACE, USER, Airflow
from local_stack.services.base import StackLayout
from local_stack.services.cassandra import CLUSTER_NODES, DATACENTER

PRODUCT_FILE = "millrace.toml"
INBOX = "inbox"
DEMO = "demo"
TOPIC = "millrace.progress.v1"


def product_settings(place: StackLayout) -> str:
    """Return the settings by which ``millrace`` reaches this stack, as TOML. They contain Airflow's password."""
    port = place.settings.port
    airflow = Airflow(place)
    sections: dict[str, dict[str, object]] = {
        "cassandra": {
            "contact_points": [f"127.0.0.{n}" for n in range(1, CLUSTER_NODES + 1)],
            "port": port("cassandra"),
            "local_dc": DATACENTER,
            "keyspace": KEYSPACE,
        },
        "redis": {"url": f"redis://127.0.0.1:{port('redis')}/0"},
        "kafka": {"bootstrap_servers": f"127.0.0.1:{port('kafka')}", "topic": TOPIC},
        "bridge": {
            "url": f"http://127.0.0.1:{port('bridge')}",
            "host": "127.0.0.1",
            "port": port("bridge"),
            "airflow_origins": [airflow.address, f"http://localhost:{port('airflow')}"],
        },
        "airflow": {"url": airflow.address, "username": USER, "password": airflow.password()},
        "sources": {"roots": [str(place.home / INBOX), str(place.home / DEMO)]},
    }
    lines = ["# Written by ./run up. Environment variables and a millrace.toml of your own win over it."]
    for section, values in sections.items():
        # A JSON string, number or list of strings is also valid TOML.
        lines += ["", f"[{section}]", *(f"{name} = {json.dumps(value)}" for name, value in values.items())]
    return "\n".join(lines) + "\n"


def write_product_settings(place: StackLayout) -> None:
    """Write ``millrace.toml``, readable by its owner only, and create the folders for sources."""
    for name in (INBOX, DEMO):
        place.folder(name)
    path = place.home / PRODUCT_FILE
    partial = path.with_suffix(".partial")
    partial.touch(mode=0o600)
    partial.write_text(product_settings(place))
    partial.replace(path)


def are_running(place: StackLayout, services: set[str]) -> bool:
    """Return whether each of ``services`` runs."""
    started = [read_pid_file(place.home / "run" / f"{name}.json") for name in services]
    return all(process is not None and process.process is not None for process in started)
