"""Events that the bridge can parse but not encode, sum or show do not affect other events and clients."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from flask.testing import FlaskClient

from millrace.errors import ProgressError
from millrace.settings import BridgeSettings, Settings
from sse_bridge.app import create_app
from sse_bridge.bridge import Bridge
from sse_bridge.consumer import Batch, Begin, BrokerUp
from sse_bridge.records import Incoming, Skipped, key_text, parse_record
from tests.unit.sse_bridge.world import record


def event(run: str, task: str = "step", **facts: Any) -> dict[str, Any]:
    """Return an event of a foreign producer, with unquoted ids in its source."""
    source = f"/python/python/{run}/{task}/-1/1"
    who = {"dag_id": "python", "run_id": run, "task_id": task, "map_index": -1, "attempt": 1}
    said = {
        "state": "running",
        "error": None,
        "kind": "train",
        "dataset": "",
        "phase": "",
        "done": 1,
        "total": 4,
        "unit": "steps",
        "rate": 1.0,
        "elapsed_s": 9.0,
        "counters": {},
        "metrics": {},
        "message": "",
    }
    return {
        "specversion": "1.0",
        "type": "millrace.progress.v1",
        "source": source,
        "id": f"{source}#000000000001",
        "subject": f"python/{run}/{task}/-1",
        "sequence": "000000000001",
        "time": "2026-01-02T03:04:05.678Z",
        "datacontenttype": "application/json",
        "data": {**who, **said, **facts},
    }


def number(text: str, *path: str, run: str = "odd", indent: int | None = None, **facts: Any) -> bytes:
    """Return an event in which the value at ``path`` of its data is this JSON text."""
    made = event(run, **facts)
    place: Any = made["data"]
    for name in path[:-1]:
        place = place.setdefault(name, {})
    place[path[-1]] = "HERE"
    return json.dumps(made, indent=indent).replace('"HERE"', text).encode()


BEYOND = ["1e999", "-1e999", "1" + "0" * 400]
EVENTS: dict[str, bytes] = {
    **{f"extra {text[:6]} on many lines": number(text, "extra", indent=1) for text in BEYOND},
    **{f"extra {text[:6]} on one line": number(text, "extra") for text in BEYOND},
    **{f"deep {text[:6]}": number(text, "a", "b", "c") for text in BEYOND},
    **{f"{name} {text[:6]}": number(text, name) for name in ("done", "total", "rate", "elapsed_s") for text in BEYOND},
    **{f"a counter {text[:6]}": number(text, "counters", "chunks") for text in BEYOND},
    **{f"a metric {text[:6]}": number(text, "metrics", "loss") for text in BEYOND},
    "NaN": number("NaN", "metrics", "loss"),
    "Infinity": number("Infinity", "done"),
    "an endless time left": number("1e-320", "rate", done=5),
    "a huge time left": number("1e-320", "rate", done=1, total=1e300),
    "a negative time": number("-5", "elapsed_s"),
    "an endless time": number("1e308", "elapsed_s"),
    "a large count": number("17" + "0" * 307, "done"),
    "a map index of 30 digits": number("1" + "0" * 30, "map_index"),
    "an attempt of 30 digits": number("1" + "0" * 30, "attempt"),
    "attempt 0": number("0", "attempt"),
    "minus zero": number("-0.0", "done"),
    "half a letter in the run": json.dumps(event("half \ud800")).encode(),
    "half a letter in the task": json.dumps(event("half", "step \udfff")).encode(),
    "half a letter in a text": json.dumps(event("half", message="half \ud800 text", phase="\udc00")).encode(),
    "half a letter in a key": json.dumps(event("half", metrics={"\ud800": 1})).encode(),
    "half a letter in an unknown key": json.dumps(event("half", **{"\ud800": "\ud800"})).encode(),
    "half a letter in the error": json.dumps(
        event("half", state="failed", error={"type": "\ud800", "message": "\udfff"})
    ).encode(),
    "a result of another kind": json.dumps(event("r", result=["x"])).encode(),
    "a result with a wrong column": json.dumps(event("r", result={"version": "1", "rows": 1, "columns": [1]})).encode(),
    "a text of a megabyte": json.dumps(event("long", message="x" * 1_000_000)).encode(),
    "a name of a megabyte": json.dumps(event("x" * 1_000_000)).encode(),
    "the year 0": json.dumps({**event("year"), "time": "0000-01-01T00:00:00Z"}).encode(),
    "the year 1": json.dumps({**event("year"), "time": "0001-01-01T00:00:00"}).encode(),
    "the year 99999": json.dumps({**event("year"), "time": "99999-01-01T00:00:00Z"}).encode(),
    "no time": json.dumps({**event("year"), "time": "soon"}).encode(),
    "900 deep": number("[" * 900 + "]" * 900, "extra"),
    "100,000 deep": number("[" * 100_000 + "]" * 100_000, "extra"),
    "on many lines": json.dumps(event("lines"), indent=1).replace("\n", "\r\n").encode(),
    "a list as its state": number("[1]", "state"),
    "a curve with a number beyond": json.dumps(event("c")).replace("/-1/1", "/-1/1/curves").encode(),
}


def started() -> tuple[FlaskClient, Bridge]:
    settings = Settings(bridge=BridgeSettings())
    bridge = Bridge(settings)
    bridge.handle(Begin("0000000a", (0,)))
    bridge.handle(BrokerUp(time.time()))
    bridge.handle(Batch([taken(record("load", 7, total=10), 0)], caught_up=True))
    return create_app(settings, bridge=bridge).test_client(), bridge


def taken(raw: bytes, offset: int, key: bytes | None = None) -> Incoming | Skipped:
    """Return a record as the consumer parses it."""
    try:
        made = parse_record(raw)
    except ProgressError:
        return Skipped(0, offset)
    return Incoming(0, offset, raw, made, time.time(), key_text(key if key is not None else made["source"].encode()))


def first_frame(client: FlaskClient, **headers: str) -> bytes:
    answer = client.get("/events", headers=headers, buffered=False)
    assert answer.status_code == 200
    data = next(answer.iter_encoded())
    answer.close()
    return bytes(data)


def others_are_served(client: FlaskClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert "7 of 10 rows" in page.text
    answer = client.get("/api/progress")
    assert answer.status_code == 200
    body = json.loads(answer.data)
    assert "load" in {task["task_id"] for task in body["tasks"]}
    frame = first_frame(client).decode()
    data = next(line for line in frame.splitlines() if line.startswith("data: "))
    assert "load" in {each["data"]["task_id"] for each in json.loads(data.removeprefix("data: "))["events"]}
    line = first_frame(client, Accept="application/x-ndjson")
    assert line.count(b"\n") == 1
    assert "load" in {each["data"]["task_id"] for each in json.loads(line)["events"]}


@pytest.mark.parametrize("name", EVENTS)
def test_an_odd_event_does_not_affect_other_events(name: str) -> None:
    client, bridge = started()
    raw = EVENTS[name]
    stream = iter(client.get("/events", buffered=False).iter_encoded())
    assert b"event: snapshot" in next(stream)
    before = bridge.hub.counts["poison"]
    bridge.handle(Batch([taken(raw, 1), taken(record("load", 8, total=10), 2)]))
    others = next(stream)
    assert b'"done":8' in others, "what came in the same batch is passed on"
    bridge.handle(Batch([taken(record("load", 7, total=10, run="r2"), 3)]))
    others_are_served(client)
    (run, *_) = client.get("/api/progress").json["runs"]  # type: ignore[index]
    assert run["run_id"] == "r2"
    shown = b"python" in client.get("/api/progress").data
    assert shown != (bridge.hub.counts["poison"] == before + 1), "it is shown, or counted as poison"


def test_very_large_numbers_of_a_run_are_added_up() -> None:
    client, bridge = started()
    many = [taken(json.dumps(event("sum", f"t{n}", done=1e300, total=1e300)).encode(), 1 + n) for n in range(200)]
    bridge.handle(Batch(many))
    others_are_served(client)
    run = client.get("/api/progress").json["runs"][0]  # type: ignore[index]
    assert run["total"]["done"] == pytest.approx(2e302)
    assert "2.0e+302" in client.get("/").text


@pytest.mark.parametrize("key", [b"a key of one's own", b"\xff\xfe", "half \ud800".encode("utf-8", "surrogatepass")])
def test_deleting_a_record_by_its_own_key_removes_it(key: bytes) -> None:
    client, bridge = started()
    bridge.handle(Batch([taken(json.dumps(event("mine")).encode(), 1, key)]))
    assert b"mine" in client.get("/api/progress").data
    bridge.handle(Batch([Skipped(0, 2, deletes=key_text(b"\xff\xff"))]))
    assert b"mine" in client.get("/api/progress").data
    bridge.handle(Batch([Skipped(0, 3, deletes=key_text(key))]))
    assert b"mine" not in client.get("/api/progress").data
    others_are_served(client)


def test_different_keys_give_different_texts() -> None:
    keys = [b"\xff", b"\\xff", "\u00ff".encode(), b"\xff\xff", b"\xed\xb3\xbf", b"\xed\xa0\x80", b"\\udcff", b"ff", b""]
    texts = [key_text(key) for key in keys]
    assert len(set(texts)) == len(keys)
    assert [text.encode("utf-8", "surrogateescape") for text in texts] == keys, "the key can be restored"


def test_deleting_a_text_key_keeps_the_event_of_an_undecodable_key() -> None:
    client, bridge = started()
    bridge.handle(Batch([taken(json.dumps(event("mine")).encode(), 1, b"\xff")]))
    bridge.handle(Batch([Skipped(0, 2, deletes=key_text(b"\\xff"))]))
    assert b"mine" in client.get("/api/progress").data
    bridge.handle(Batch([Skipped(0, 3, deletes=key_text(b"\xff"))]))
    assert b"mine" not in client.get("/api/progress").data


def test_events_whose_source_names_another_task_are_evicted() -> None:
    _, bridge = started()
    bridge.hub.state._sources_max = 10
    for number_ in range(40):
        lie = event("one", "step")
        lie["source"] = f"/python/python/other/{number_}/-1/1"
        bridge.handle(Batch([taken(json.dumps(lie).encode(), 1 + number_)]))
    for number_ in range(30):
        bridge.handle(Batch([taken(record("load", 1, run=f"n{number_}"), 50 + number_)]))
    assert bridge.hub.state.count <= 11
    assert len(bridge.hub.state.run_states.sources) == bridge.hub.state.count
