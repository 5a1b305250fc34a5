from __future__ import annotations

import gzip
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from millrace import progress
from millrace.api import Store
from millrace.settings import Settings
from tests.integration.cli.conftest import ROWS, Millrace, write_table
from tests.waiting import until

Spawn = Callable[..., subprocess.Popen[str]]


def test_the_report_describes_the_load(loaded: dict[str, Any], table_csv: Path) -> None:
    assert loaded["rows"] == loaded["total_rows"] == ROWS
    assert loaded["chunks"] > 1
    assert loaded["raw_bytes"] > loaded["stored_bytes"] > 0
    assert (loaded["replicas"], loaded["degraded"], loaded["missing"]) == (2, False, [])
    assert (loaded["source"], loaded["mode"], loaded["parent"]) == (str(table_csv), "replace", None)
    assert loaded["run"].startswith("words-")
    assert loaded["seconds"] > 0
    assert loaded["rows_per_s"] > 0


def test_without_json_the_report_is_a_table(millrace: Millrace, table_csv: Path) -> None:
    done = millrace("load", "told", str(table_csv), "--run-id", "night 1")
    assert (done.code, done.err) == (0, "")
    for said in ("told@1-", f"rows          {ROWS:,}", "replicas      2 each", "times smaller", "night 1", "table.csv"):
        assert said in done.out


def test_the_same_run_is_the_same_load(millrace: Millrace, table_csv: Path) -> None:
    first = millrace("load", "again", str(table_csv), "--run-id", "r1", "--json")
    second = millrace("load", "again", str(table_csv), "--run-id", "r1", "--json")
    assert [done.code for done in (first, second)] == [0, 0]
    assert first.json["version"] == second.json["version"]
    assert len(millrace("versions", "again", "--json").json["versions"]) == 1
    assert "published already" in millrace("load", "again", str(table_csv), "--run-id", "r1").out


def test_append_adds_to_the_last_version(millrace: Millrace, table_csv: Path) -> None:
    first = millrace("load", "grown", str(table_csv), "--json").json
    second = millrace("load", "grown", str(table_csv), "--mode", "append", "--json").json
    assert (second["rows"], second["total_rows"], second["parent"]) == (ROWS, 2 * ROWS, first["version"])
    versions = millrace("versions", "grown", "--json").json["versions"]
    assert [(v["mode"], v["rows"]) for v in versions] == [("append", 2 * ROWS), ("replace", ROWS)]


def test_a_dry_run_measures_and_writes_nothing(millrace: Millrace, table_csv: Path, loaded: dict[str, Any]) -> None:
    args = ("load", "dry", str(table_csv), "--null-value", "NA", "--chunk-bytes", "65536", "--dry-run")
    done = millrace(*args, "--json")
    assert (done.code, done.err) == (0, "")
    same = ("rows", "chunks", "raw_bytes", "stored_bytes", "kind", "source")
    assert {key: done.json[key] for key in same} == {key: loaded[key] for key in same}
    assert done.json["dry_run"] is True
    assert "nothing (dry run)" in millrace(*args).out
    assert millrace("versions", "dry", "--json").code == 1


def test_standard_input_is_a_source(spawn: Spawn, table_csv: Path, millrace: Millrace) -> None:
    process = spawn("load", "piped", "-", "--format", "csv", "--json", stdin=subprocess.PIPE)
    out, err = process.communicate(table_csv.read_text(), timeout=120)
    assert (process.returncode, err) == (0, "")
    assert json.loads(out)["rows"] == ROWS


# --- wrong input


def lines(path: Path, *rows: str) -> str:
    path.write_text("\n".join(rows) + "\n")
    return str(path)


def test_wrong_input_is_one_line_and_no_version(millrace: Millrace, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    packed = gzip.compress(b"a,b\n" + b"1,2\n" * 10_000)
    (tmp_path / "cut.csv.gz").write_bytes(packed[:-20])
    (tmp_path / "latin.csv").write_bytes(b"a,b\n1,\xe9\n")
    good = lines(tmp_path / "good.csv", "a,b", "1,2")
    os.mkfifo(tmp_path / "fifo.csv")
    cases: list[tuple[list[str], int, str]] = [
        ([str(tmp_path / "missing.csv")], 1, "missing.csv"),
        ([str(tmp_path / "fifo.csv")], 1, "FIFO"),
        ([str(tmp_path / "empty")], 1, "no data"),
        ([str(tmp_path / "cut.csv.gz")], 1, "cut.csv.gz"),
        ([lines(tmp_path / "ragged.csv", "a,b", "1,2", "3", "4,5")], 1, "line 3"),
        ([str(tmp_path / "latin.csv")], 1, "latin.csv"),
        ([lines(tmp_path / "turns.csv", "a", *["1"] * 50, "x"), "--infer-bytes", "20"], 1, "--column-type"),
        ([good, "--codec", "lzma"], 2, "lzma"),
        ([good, "--chunk-bytes", "65535"], 2, "65,536 to 5,000,000"),
        ([good, "--chunk-bytes", "5000001"], 2, "65,536 to 5,000,000"),
        ([good, "--chunk-bytes", "0"], 2, "65,536 to 5,000,000"),
        ([good, "--mode", "merge"], 2, "merge"),
        ([good, "--format", "xlsx"], 2, "xlsx"),
        ([good, "--column-type", "nobody=int8"], 2, "nobody"),
        ([good, "--column-type", "a=integerish"], 2, "integerish"),
    ]
    wrong = []
    for args, code, said in cases:
        done = millrace("load", "wrong", *args)
        if (done.code, done.out) != (code, "") or said not in done.err or done.err.count("\n") != 1:
            wrong.append((args, code, said, done))
    assert wrong == []
    assert millrace("versions", "wrong").code == 1
    for name in ("Flights", "1st", "a-b", "x" * 49, ""):
        done = millrace("load", name, good)
        assert (done.code, done.err.count("\n")) == (2, 1), name
        assert "dataset name" in done.err


# --- missing services


def test_without_kafka_a_load_succeeds_and_warns_once(millrace: Millrace, table_csv: Path) -> None:
    done = millrace("load", "quiet", str(table_csv), "--json", MILLRACE_KAFKA__BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert done.code == 0
    assert done.json["missing"] == ["progress"]
    assert done.err.count("\n") == 1
    assert done.err.startswith("millrace: warning: progress is not being reported: Kafka at 127.0.0.1:1")


def test_without_redis_a_load_succeeds_and_warns_once(millrace: Millrace, table_csv: Path) -> None:
    done = millrace("load", "uncached", str(table_csv), "--json", MILLRACE_REDIS__URL="redis://127.0.0.1:1/0")
    assert (done.code, done.json["missing"]) == (0, ["cache"])
    assert done.err.count("\n") == 1
    assert done.err.startswith("millrace: warning: the cache at 127.0.0.1:1 does not work")


def test_a_cache_that_is_switched_off_is_not_reported_as_missing(millrace: Millrace, table_csv: Path) -> None:
    done = millrace("load", "plain", str(table_csv), "--json", MILLRACE_REDIS__URL="")
    assert (done.code, done.err, done.json["missing"]) == (0, "", [])


def test_without_cassandra_a_load_fails_with_one_line(millrace: Millrace, table_csv: Path) -> None:
    done = millrace("load", "nowhere", str(table_csv), MILLRACE_CASSANDRA__PORT="1")
    assert done.code == 1
    assert done.err.startswith("millrace: no Cassandra node responds at ")
    assert done.err.count("\n") == 1


def test_progress_goes_to_kafka_as_a_run_of_the_command_line(
    millrace: Millrace, table_csv: Path, settings: Settings
) -> None:
    from confluent_kafka import Consumer

    run = f"watched-{os.getpid()}-{time.time_ns()}"
    assert millrace("load", "watched", str(table_csv), "--run-id", run).code == 0
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka.bootstrap_servers,
            "group.id": run,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": False,
        }
    )
    consumer.subscribe([settings.kafka.topic])
    events: list[dict[str, Any]] = []
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not any(e["data"]["state"] == "succeeded" for e in events):
            message = consumer.poll(1.0)
            if message is not None and message.error() is None and run.encode() in (message.key() or b""):
                events.append(json.loads(message.value() or b""))
    finally:
        consumer.close()
    sources = {event["source"] for event in events}
    # A named run may be resumed later; the time in the source distinguishes its attempts.
    assert len(sources) == 1
    assert re.fullmatch(rf"/cli/cli/{run}/load/-1/\d+", sources.pop())
    last = events[-1]["data"]
    assert (last["state"], last["kind"], last["dataset"]) == ("succeeded", "load", "watched")
    assert last["done"] == last["total"] == table_csv.stat().st_size
    assert last["unit"] == "bytes"
    assert (last["result"]["rows"], last["result"]["total_rows"], last["result"]["mode"]) == (ROWS, ROWS, "replace")
    assert last["result"]["columns_total"] == len(last["result"]["columns"]) > 1


def test_work_from_python_reports_its_result(store: Store, table_csv: Path) -> None:
    def last_of(kind: str, work: Callable[[progress.ProgressTask], object]) -> dict[str, Any]:
        sink = progress.MemorySink()
        identity = progress.TaskIdentity("python", "told-1", kind)
        with progress.task(identity, kind=kind, dataset="told_python", sinks=[sink]) as task:
            work(task)
        last = sink.events[-1]
        progress.validate_event(last)
        return dict(last["data"])

    said = last_of("load", lambda task: store.load("told_python", str(table_csv), task=task))["result"]
    version = store.version("told_python")
    assert (said["dataset"], said["version"], said["rows"]) == ("told_python", version.label, ROWS)
    assert (said["raw_bytes"], said["stored_bytes"]) == (version.raw_bytes, version.stored_bytes)
    schema = store.dataset("told_python").schema
    assert said["columns"] == [[field.name, str(field.type)] for field in schema]
    reference = version.reference
    for kind, work, message in (
        ("warm", lambda task: store.warm(reference, task=task), f"{reference} is in Redis, {ROWS:,} rows in "),
        (
            "verify",
            lambda task: store.verify(reference, task=task),
            f"{ROWS:,} rows in {version.chunks:,} chunks verified",
        ),
        ("repair", lambda task: store.repair("told_python", task=task), "nothing to repair"),
    ):
        assert last_of(kind, work)["message"].startswith(message)


# --- stopping


@pytest.fixture(scope="module")
def large_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 5 million rows, 180 MB, so that a load of them still runs when it is stopped."""
    small = write_table(tmp_path_factory.mktemp("large") / "small.csv", 20_000).read_bytes()
    head, _, body = small.partition(b"\n")
    path = tmp_path_factory.mktemp("large") / "large.csv"
    with path.open("wb") as file:
        file.write(head + b"\n")
        for _ in range(250):
            file.write(body)
    return path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_load_exits_within_two_seconds_and_can_be_resumed(
    spawn: Spawn, millrace: Millrace, store: Store, large_csv: Path, number: signal.Signals
) -> None:
    name = f"stopped_{number.name.lower()}"
    process = spawn("load", name, str(large_csv), "--null-value", "NA", "--chunk-bytes", "1000000")
    until(lambda: store.catalogue.attempts(name) or process.poll() is not None, "an attempt", timeout_s=60.0)
    began = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    took_s = time.monotonic() - began
    assert (process.returncode, out) == (130, ""), err
    assert took_s < 2.0
    said, command = err.rstrip("\n").split("; resume with: ")
    assert said == f"millrace: stopped; no version of {name} was created"
    assert millrace("versions", name).code == 1
    program, *again = shlex.split(command)
    run = again[-1]
    assert program == "millrace"
    assert again[-2] == "--run-id"
    done = millrace(*again, "--json")
    assert (done.code, done.json["run"], done.json["rows"]) == (0, run, 250 * 20_000)
    assert len(millrace("versions", name, "--json").json["versions"]) == 1


def test_a_stopped_load_prints_the_command_to_resume_it_as_json(spawn: Spawn, store: Store, large_csv: Path) -> None:
    process = spawn("load", "halted", str(large_csv), "--run-id", "h 1", "--json", "--null-value", "NA")
    until(lambda: store.catalogue.attempts("halted") or process.poll() is not None, "an attempt", timeout_s=60.0)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    facts = json.loads(out)
    assert (facts["error"], facts["dataset"], facts["run"]) == ("LoadInterruptedError", "halted", "h 1")
    assert facts["command"] == f"millrace load halted {large_csv} --run-id 'h 1' --json --null-value NA"


# --- on a terminal


def test_a_terminal_shows_a_progress_bar_and_then_the_report(environment: dict[str, str], large_csv: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "millrace", "load", "drawn", str(large_csv), "--null-value", "NA"],
        env={**environment, "TERM": "xterm", "COLUMNS": "120"},
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    drawn = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # raised by a pseudo-terminal when its other end is closed
            break
        if not piece:
            break
        drawn += piece
    os.close(ours)
    assert process.stdout is not None
    out = process.stdout.read()
    process.stdout.close()
    assert process.wait(60) == 0
    assert b"load drawn (write)" in drawn
    assert b" MB of " in drawn
    assert b"/s" in drawn
    assert out.startswith(b"drawn@1-")
    assert b"\x1b" not in out
