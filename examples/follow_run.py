"""Follow one run over Server-Sent Events until it has ended, without any code of Millrace.

python examples/follow_run.py http://127.0.0.1:8085 cli load-flights-3fa9c1
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import httpx
from httpx_sse import connect_sse


def states(bridge: str, dag_id: str, run_id: str, token: str = "") -> Iterator[dict[str, Any]]:
    """Yield the data of each progress event of the run; ends when the run will send nothing more."""
    query = {"dag_id": dag_id, "run_id": run_id, "until": "terminal"}
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with (
        httpx.Client(timeout=httpx.Timeout(10, read=60), headers=headers) as client,
        connect_sse(client, "GET", f"{bridge}/events", params=query) as stream,
    ):
        for event in stream.iter_sse():
            if not event.data:  # the bridge sent the new position alone, which httpx-sse makes an event of
                continue
            document = json.loads(event.data)
            cloud_events = {"progress": [document]}.get(event.event, document.get("events", []))
            for cloud_event in cloud_events:
                if not cloud_event["source"].endswith("/curves"):  # these have the points of training curves
                    yield cloud_event["data"]


def main(bridge: str, dag_id: str, run_id: str, token: str = "") -> None:
    for state in states(bridge, dag_id, run_id, token):
        total = f" of {state['total']:,}" if state["total"] else ""
        print(f"{state['task_id']}: {state['state']}, {state['done']:,}{total} {state['unit']}")


if __name__ == "__main__":
    main(*sys.argv[1:])
