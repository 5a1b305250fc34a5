"""Third-party clients read the stream; the browser's own EventSource is tested in ``tests/browser``."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import httpx
import pytest
from httpx_sse import connect_sse

from tests.integration.sse_bridge.conftest import WAIT_S, Bridge, Topic
from tests.waiting import until

NPM_CLIENT = Path(__file__).with_name("eventsource")
NASTY = "a\r\nb\u2028c\x85d\n\ndata: e\x00"


@pytest.fixture(scope="module")
def npm_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the ``eventsource`` package pinned by npm's lock file, beside a program of ten lines."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("no node and npm on the PATH: `apt-get install nodejs npm`")
    folder = tmp_path_factory.mktemp("eventsource") / "client"
    shutil.copytree(NPM_CLIENT, folder)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", str(folder / "cache")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return folder


class Reading:
    """A client process whose standard output is read by line; it ends with the block."""

    def __init__(self, command: list[str], **options: Any) -> None:
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1, **options)
        assert self.process.stdout is not None
        self.lines: IO[str] = self.process.stdout

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.process.kill()
        self.process.communicate(timeout=WAIT_S)

    def said(self) -> Iterator[dict[str, Any]]:
        for line in self.lines:
            yield json.loads(line)


def test_the_eventsource_package_reconnects_and_gets_every_event_once(
    topic: Topic, bridge: Bridge, npm_client: Path
) -> None:
    first = topic.say("load", 1, message=NASTY)
    until(lambda: bridge.metric("sources") == 1, "the first event")
    with Reading(["node", "listen.js", f"{bridge.url}/events"], cwd=npm_client) as client:
        said = client.said()
        begun = next(said)
        assert begun["name"] == "snapshot"
        assert json.loads(begun["data"])["events"] == [first]
        told = [topic.say("load", number, message=NASTY) for number in (2, 3)]
        got = [next(said), next(said)]
        bridge.stop()
        assert next(said)["name"] == "bye"
        told += [topic.say("load", number) for number in (4, 5)]
        bridge.start()
        until(lambda: bridge.metric("streams") == 1, "the client to come back")
        told += [topic.say("load", number) for number in (6, 7)]
        got += [next(said) for _ in range(4)]
    assert {each["name"] for each in got} == {"progress"}
    assert [json.loads(each["data"]) for each in got] == told


def test_httpx_sse_reads_snapshot_events_and_bye(topic: Topic, bridge: Bridge) -> None:
    first = topic.say("load", 1, message=NASTY)
    until(lambda: bridge.metric("sources") == 1, "the first event")
    with (
        httpx.Client(trust_env=False, timeout=WAIT_S) as client,
        connect_sse(client, "GET", f"{bridge.url}/events") as source,
    ):
        events = (event for event in source.iter_sse() if event.data)
        begun = next(events)
        assert (begun.event, begun.json()["events"]) == ("snapshot", [first])
        told = topic.say("load", 2, message=NASTY)
        progress = next(events)
        assert (progress.event, progress.json()) == ("progress", told)
        assert progress.id.split(".")[0] == begun.id.split(".")[0]
        bridge.stop()
        goodbye = next(events)
        assert (goodbye.event, goodbye.json()) == ("bye", {"reason": "shutdown"})


def test_curl_shows_events_as_they_come_and_ends_with_the_run(topic: Topic, bridge: Bridge) -> None:
    topic.say("load", 1, dag="cli", message=NASTY)
    until(lambda: bridge.metric("sources") == 1, "the first event")
    curl = ["curl", "-sN", "--noproxy", "*", "--max-time", str(WAIT_S)]
    with Reading([*curl, f"{bridge.url}/events"]) as client:
        shown = (line.rstrip("\n") for line in client.lines)
        assert next(line for line in shown if line.startswith("event: ")) == "event: snapshot"
        assert json.loads(next(shown).removeprefix("data: "))["events"][0]["data"]["message"] == NASTY
        told = topic.say("load", 2, dag="cli", message=NASTY)
        assert next(line for line in shown if line.startswith("event: ")) == "event: progress"
        assert json.loads(next(shown).removeprefix("data: ")) == told
    url = f"{bridge.url}/events?dag_id=cli&run_id=r&until=terminal&quiet_s=0"
    with Reading([*curl, "-H", "Accept: application/x-ndjson", url]) as client:
        said = client.said()
        assert next(said)["type"] == "snapshot"
        topic.say("load", 3, "succeeded", dag="cli")
        assert next(line for line in said if line["type"] not in ("heartbeat", "liveness"))["data"]["done"] == 3
        assert next(line for line in said if line["type"] not in ("heartbeat", "liveness"))["reason"] == "over"
        assert client.process.wait(WAIT_S) == 0
