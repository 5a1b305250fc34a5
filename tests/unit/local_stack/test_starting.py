"""Starting, failing and stopping, with small Python processes in place of the real services."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from local_stack import stack as stack_module
from local_stack.ports import Port
from local_stack.services.base import Service, StackLayout
from local_stack.settings import StackSettings
from local_stack.stack import Stack
from millrace.errors import StackError, UsageError
from tests.ports import free_ports

LISTENS = """
import socket, sys, signal
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
signal.pause()
"""
FAILS = "import sys; print('first line', flush=True); sys.exit('the reason')"
NEVER_READY = "import signal; print('still loading', flush=True); signal.pause()"


class Small(Service):
    """A service of a few lines: ready when its port is open."""

    grace_s = 5.0

    def __init__(self, place: StackLayout, name: str, code: str, number: int) -> None:
        super().__init__(place)
        self.name = name
        self.code = code
        self.number = number

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.number}"

    @property
    def memory_mb(self) -> int:
        return 10

    def ports(self) -> list[Port]:
        return [Port("127.0.0.1", self.number, "MILLRACE_STACK__SMALL_PORT")]

    def prepare(self) -> None:
        self.place.folder("conf", self.name)

    def command(self) -> list[str]:
        return [sys.executable, "-c", self.code, str(self.number)]

    def not_ready(self) -> str | None:
        return None if self.ports()[0].is_open() else "nobody listens"


Make = Callable[..., Stack]


@pytest.fixture
def make(settings: StackSettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Return a function that makes a stack of small services: ``make(one=LISTENS, two=FAILS)``."""
    made: list[Stack] = []
    monkeypatch.setattr("local_stack.starting.PROBE_INTERVAL_S", 0.02)
    monkeypatch.setattr(stack_module, "require_disk", lambda home: None)

    def build(timeout_s: float = 30.0, **codes: str) -> Stack:
        lines: list[str] = []
        stack = Stack(settings.model_copy(update={"start_timeout_s": timeout_s}), say=lines.append)
        stack.lines = lines  # type: ignore[attr-defined]  # read by the tests
        ports = zip(codes.items(), free_ports(len(codes)), strict=True)
        services = [Small(stack.place, name, code, port) for (name, code), port in ports]
        monkeypatch.setattr(stack, "services", lambda: services)
        made.append(stack)
        return stack

    yield build
    for stack in made:
        for service in stack.services():
            service.grace_s = 0
        stack.down()


def states(stack: Stack) -> dict[str, str]:
    return {row["service"]: row["state"] for row in stack.status()}


def test_up_starts_every_service_and_status_shows_its_process_address_and_start_time(make: Make) -> None:
    stack = make(one=LISTENS, two=LISTENS)
    assert states(stack) == {"one": "down", "two": "down"}
    stack.up()
    rows = {row["service"]: row for row in stack.status()}
    assert states(stack) == {"one": "running", "two": "running"}
    assert psutil.Process(rows["one"]["pid"]).cmdline()[0] == sys.executable
    assert rows["one"]["address"] == stack.services()[0].address
    assert rows["one"]["since"].startswith("20")
    stack.down()
    assert states(stack) == {"one": "down", "two": "down"}


def test_up_again_leaves_running_services_alone(make: Make) -> None:
    stack = make(one=LISTENS)
    stack.up()
    before = stack.status()
    stack.up()
    assert stack.status() == before


def test_only_the_services_named_are_started_and_stopped(make: Make) -> None:
    stack = make(one=LISTENS, two=LISTENS)
    stack.up(["two"])
    assert states(stack) == {"one": "down", "two": "running"}
    stack.up()
    stack.down(["one"])
    assert states(stack) == {"one": "down", "two": "running"}


def test_a_service_that_ends_is_reported_at_once_with_the_end_of_its_log(make: Make) -> None:
    stack = make(timeout_s=600, one=FAILS)
    with pytest.raises(StackError, match=r"(?s)one ended; the end of .*one\.log:\n  first line\n  the reason"):
        stack.up()
    assert states(stack) == {"one": "down"}


def test_a_service_that_is_never_ready_is_reported_in_time_and_stopped_again(make: Make) -> None:
    stack = make(timeout_s=0.5, one=NEVER_READY)
    with pytest.raises(StackError, match=r"one is not ready after 0\.5 s \(nobody listens\).*\n  still loading"):
        stack.up()
    assert states(stack) == {"one": "down"}


def test_one_failure_leaves_the_others_up_so_that_up_can_be_repeated(make: Make) -> None:
    stack = make(one=LISTENS, two=FAILS)
    with pytest.raises(StackError, match="two ended"):
        stack.up()
    assert states(stack) == {"one": "running", "two": "down"}
    stack.services()[1].code = LISTENS  # type: ignore[attr-defined]  # the cause of the failure is fixed
    stack.up()
    assert states(stack) == {"one": "running", "two": "running"}


def test_a_taken_port_stops_everything_before_anything_was_started(make: Make) -> None:
    stack = make(one=LISTENS, two=LISTENS)
    with (
        socket.create_server(("127.0.0.1", stack.services()[1].number)),  # type: ignore[attr-defined]
        pytest.raises(StackError, match=rf"is taken by .*\(pid {os.getpid()}\).*SMALL_PORT"),
    ):
        stack.up()
    assert states(stack) == {"one": "down", "two": "down"}
    assert not (stack.place.home / "logs").exists()


def test_a_foreign_listener_on_the_port_is_never_taken_for_the_service(make: Make) -> None:
    # The service cannot listen and ends. The foreign listener, started after the port check, answers the probe.
    stack = make(one="import time; time.sleep(0.3); raise SystemExit('address in use')")
    service = stack.services()[0]
    stolen: list[socket.socket] = []
    prepare = service.prepare

    def steal_then_prepare() -> None:
        stolen.append(socket.create_server(("127.0.0.1", service.ports()[0].number)))
        prepare()

    service.prepare = steal_then_prepare  # type: ignore[method-assign]
    service.not_ready = _after_the_end_of(service)  # type: ignore[method-assign]
    try:
        with pytest.raises(StackError, match=r"(?s)one ended.*address in use"):
            stack.up()
    finally:
        stolen[0].close()


def _after_the_end_of(service: Service) -> Callable[[], str | None]:
    def ready_as_soon_as_it_is_dead() -> str | None:
        started = service.started
        return None if started is not None and started.process is None else "not yet"

    return ready_as_soon_as_it_is_dead


def test_too_little_memory_stops_everything_before_anything_was_started(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = make(one=LISTENS)
    monkeypatch.setattr(Small, "memory_mb", 10**9)
    with pytest.raises(StackError, match=r"MiB of memory are needed \(one 1000000000\)"):
        stack.up()
    assert states(stack) == {"one": "down"}


def test_two_starts_at_once_are_refused_with_the_pid_of_the_first(make: Make) -> None:
    stack = make(one=LISTENS)
    stack.place.folder()
    with (stack.place.home / "stack.lock").open("w") as lock:
        lock.write("4711")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in (stack.up, stack.down, stack.reset):
            with pytest.raises(StackError, match=r"another command \(pid 4711\)"):
                command()
    stack.up()


def test_processes_left_by_a_killed_service_are_ended_before_it_is_started_again(make: Make) -> None:
    with_worker = "import os\nif os.fork() == 0: pass\n" + LISTENS.replace(
        "server =", "server = None if os.getpid() != os.getsid(0) else"
    )
    stack = make(one=with_worker)
    stack.up()
    leader = stack.services()[0].started
    assert leader is not None
    os.kill(leader.pid, signal.SIGKILL)
    assert leader.wait(10)
    assert states(stack) == {"one": "died"}
    assert len(leader.members()) == 1, "the worker lives on"
    stack.up()
    assert states(stack) == {"one": "running"}
    assert leader.members() == []


def test_kill_freeze_and_thaw_change_the_state_of_a_service(make: Make) -> None:
    stack = make(one=LISTENS)
    stack.up()
    stack.freeze("one")
    assert states(stack) == {"one": "frozen"}
    with pytest.raises(StackError, match=r"one is frozen: \./run thaw one"):
        stack.up()
    stack.thaw("one")
    assert states(stack) == {"one": "running"}
    stack.kill("one")
    assert states(stack) == {"one": "died"}
    for command in (stack.kill, stack.freeze, stack.thaw):
        with pytest.raises(StackError, match=r"one is not running: \./run up one"):
            command("one")


def test_an_interrupt_stops_only_the_services_that_this_call_started(make: Make) -> None:
    stack = make(one=LISTENS, two=NEVER_READY)
    stack.up(["one"])
    second = stack.services()[1]

    def interrupted_when_first_asked() -> str:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        return "not yet"

    second.not_ready = interrupted_when_first_asked  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        stack.up()
    assert states(stack) == {"one": "running", "two": "down"}


def test_a_reused_pid_is_not_stopped(make: Make, tmp_path: Path) -> None:
    stack = make(one=LISTENS)
    pid_file = stack.services()[0].pid_file
    pid_file.parent.mkdir(parents=True)
    pid_file.write_text(f'{{"pid": {os.getpid()}, "create_time": 1.0}}')
    assert states(stack) == {"one": "died"}
    stack.down()
    assert states(stack) == {"one": "down"}


def test_a_process_is_still_recognized_after_the_clock_was_set(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = make(one=LISTENS)
    stack.up()
    began = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: began(process) + 75.0)
    assert states(stack) == {"one": "running"}
    pid = json.loads(stack.services()[0].pid_file.read_text())["pid"]
    stack.down()
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize("part", [0, 1], ids=["another boot", "another start"])
def test_a_pid_of_another_boot_or_another_start_is_not_recognized(make: Make, part: int) -> None:
    stack = make(one=LISTENS)
    stack.up()
    pid_file = stack.services()[0].pid_file
    record = json.loads(pid_file.read_text())
    words = record["birth"].split()
    words[part] += "0"
    pid_file.write_text(json.dumps({**record, "birth": " ".join(words)}))
    assert states(stack) == {"one": "died"}
    pid_file.write_text(json.dumps(record))


def test_reset_deletes_the_data_and_keeps_jars_the_inbox_and_benchmarks(make: Make) -> None:
    stack = make(one=LISTENS)
    stack.up()
    kept = [stack.place.folder(name) / "kept" for name in ("maven", "inbox", "bench")]
    for path in kept:
        path.write_text("")
    (stack.place.folder("data", "one") / "gone").write_text("")
    stack.reset()
    assert states(stack) == {"one": "down"}
    assert all(path.exists() for path in kept)
    left = {path.name for path in stack.place.home.iterdir()}
    assert left == {"maven", "inbox", "bench", "stack.lock"}


def test_a_long_log_is_put_aside_and_the_short_one_is_continued(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local_stack.starting.LOG_KEPT_BYTES", 20)
    stack = make(one=LISTENS)
    log = stack.services()[0].log
    for _ in range(2):
        stack.up()
        stack.down()
    assert log.read_text() == "listening\nlistening\n"[:20]
    log.write_text("x" * 21)
    stack.up()
    assert log.read_text() == "listening\n"
    assert log.with_suffix(".log.1").read_text() == "x" * 21


def test_a_service_that_joins_another_starts_when_that_one_is_ready(make: Make) -> None:
    stack = make(one=LISTENS, two=LISTENS)
    first, second = stack.services()
    seen: list[str] = []
    type(second).joins = property(lambda self: ("one",) if self is second else ())  # type: ignore[method-assign]
    prepare = second.prepare

    def note_then_prepare() -> None:
        seen.append(states(stack)["one"] + (" and ready" if first.not_ready() is None else ""))
        prepare()

    second.prepare = note_then_prepare  # type: ignore[method-assign]
    try:
        stack.up()
    finally:
        del type(second).joins
    assert seen == ["running and ready"]


def test_a_service_is_not_started_if_one_it_joins_fails_and_the_error_shows_the_cause(make: Make) -> None:
    stack = make(one=FAILS, two=LISTENS)
    second = stack.services()[1]
    type(second).joins = property(lambda self: ("one",) if self is second else ())  # type: ignore[method-assign]
    try:
        with pytest.raises(StackError, match="one ended"):
            stack.up()
    finally:
        del type(second).joins
    assert states(stack) == {"one": "down", "two": "down"}
    assert not second.log.exists()


def test_a_new_node_joins_those_before_it_and_one_with_data_does_not_wait(settings: StackSettings) -> None:
    stack = Stack(settings)
    joins = [stack.node(n).joins for n in (1, 2, 3)]
    assert joins == [(), ("cassandra-1",), ("cassandra-1", "cassandra-2")]
    stack.place.folder("data", "cassandra-2", "data", "system")
    assert stack.node(2).joins == ()


def test_a_later_node_whose_join_was_interrupted_joins_again(settings: StackSettings) -> None:
    stack = Stack(settings)
    data = stack.place.folder("data", "cassandra-3")
    stack.place.folder("data", "cassandra-3", "data", "system")
    assert stack.node(3).joins == ("cassandra-1", "cassandra-2")
    (data / "joined").touch()
    assert stack.node(3).joins == ()


def test_a_later_node_is_refused_while_one_before_it_is_down_and_leaves_nothing(settings: StackSettings) -> None:
    stack = Stack(settings)
    with pytest.raises(StackError, match=r"cassandra-4 joins only while .* cassandra-1, cassandra-2, cassandra-3"):
        stack.node(4).prepare()
    assert not stack.node(4).is_member


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        ([], ["cassandra-1", "cassandra-2", "kafka", "redis", "airflow", "bridge"]),
        (["cassandra"], ["cassandra-1", "cassandra-2"]),
        (["redis", "cassandra", "redis"], ["redis", "cassandra-1", "cassandra-2"]),
        (["cassandra-4"], ["cassandra-4"]),
    ],
)
def test_names_select_services(settings: StackSettings, names: list[str], chosen: list[str]) -> None:
    assert [service.name for service in Stack(settings).select(names)] == chosen


def test_a_node_with_data_belongs_to_the_stack(settings: StackSettings) -> None:
    stack = Stack(settings)
    stack.place.folder("data", "cassandra-3")
    assert [s.name for s in stack.select(["cassandra"])] == ["cassandra-1", "cassandra-2", "cassandra-3"]


@pytest.mark.parametrize("name", ["cassandr", "cassandra-", "cassandra-x", "", "postgres"])
def test_an_unknown_service_is_refused_with_the_list(settings: StackSettings, name: str) -> None:
    with pytest.raises(UsageError, match=f"no service '{name}': the services are cassandra, cassandra-1.*bridge"):
        Stack(settings).select([name])


def test_a_command_for_one_service_refuses_a_name_for_several(settings: StackSettings) -> None:
    with pytest.raises(UsageError, match="'cassandra' is 2 services: name one: cassandra-1, cassandra-2"):
        Stack(settings).one("cassandra")


class Initialised(list[dict[str, str]]):
    """The environments in which ``millrace init`` was called; ``topic`` is the topic in its output."""

    topic: str | None = "millrace.progress.v1"


@pytest.fixture
def initialised(monkeypatch: pytest.MonkeyPatch) -> Initialised:
    calls = Initialised()

    def run(command: list[str], *, env: dict[str, str], **_options: Any) -> subprocess.CompletedProcess[str]:
        assert command[1:] == ["-m", "millrace", "init", "--json"]
        calls.append(env)
        return subprocess.CompletedProcess(command, 0, json.dumps({"topic": calls.topic}), "progress is off: why")

    monkeypatch.setattr("local_stack.starting.subprocess.run", run)
    monkeypatch.setattr("local_stack.starting.NODES", {"one", "two"})
    monkeypatch.delenv("MILLRACE_KAFKA__BOOTSTRAP_SERVERS", raising=False)
    return calls


def test_the_nodes_alone_are_enough_for_the_tables_and_up_reports_that_progress_is_off(
    make: Make, initialised: Initialised
) -> None:
    initialised.topic = None
    stack = make(one=LISTENS, two=LISTENS)
    stack.up()
    assert [env["MILLRACE_KAFKA__BOOTSTRAP_SERVERS"] for env in initialised] == [""]
    assert "millrace     tables exist; progress is off without kafka: ./run up kafka" in stack.lines  # type: ignore[attr-defined]


def test_with_kafka_the_topic_is_made_when_kafka_and_the_nodes_run(make: Make, initialised: Initialised) -> None:
    stack = make(one=LISTENS, two=LISTENS, kafka=LISTENS)
    stack.up(["kafka"])
    stack.up(["one"])
    assert initialised == [], "a node is missing"
    stack.up(["two"])
    assert len(initialised) == 1
    assert "MILLRACE_KAFKA__BOOTSTRAP_SERVERS" not in initialised[0]


def test_a_topic_that_was_not_made_though_kafka_runs_fails_the_start(make: Make, initialised: Initialised) -> None:
    initialised.topic = None
    stack = make(one=LISTENS, two=LISTENS, kafka=LISTENS)
    with pytest.raises(StackError, match="millrace init failed: progress is off: why"):
        stack.up()
