"""`./run up`, `down` and the other commands as a user types them, with a separate home and ports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from local_stack.settings import CHECKOUT
from tests.ports import free_port, free_ports


class CommandLine:
    """The commands with one ``MILLRACE_HOME`` and an empty ``HOME``."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "millrace home"
        self.user_home = folder / "user"
        self.user_home.mkdir()
        self.user_home.chmod(0o555)
        names = ("REDIS", "KAFKA", "KAFKA_CONTROLLER")
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MILLRACE_")},
            **{f"MILLRACE_STACK__{name}_PORT": str(port) for name, port in zip(names, free_ports(3), strict=True)},
            "MILLRACE_HOME": str(self.home),
            "HOME": str(self.user_home),
            "TMPDIR": str(folder),
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "local_stack", *arguments],
            cwd=CHECKOUT, env=self.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def run(self, *arguments: str) -> tuple[int, str, str]:
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=240)
            return process.returncode, out, err

    def status(self) -> dict[str, dict[str, object]]:
        code, out, err = self.run("status", "--json")
        assert code == 0, err
        return {row["service"]: row for row in json.loads(out)}


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[CommandLine]:
    line = CommandLine(tmp_path)
    yield line
    if any((line.home / "run").glob("*.json")):  # a service was started and not stopped again
        code, _, err = line.run("down")
        assert code == 0, err


def test_services_outlive_the_command_that_started_them_and_end_with_down(commands: CommandLine) -> None:
    code, out, err = commands.run("up", "redis", "kafka")
    assert code == 0, err
    assert [line.split()[:2] for line in sorted(out.splitlines())] == [["kafka", "ready"], ["redis", "ready"]]
    rows = commands.status()
    pids = [rows[name]["pid"] for name in ("redis", "kafka")]
    assert {rows[name]["state"] for name in ("redis", "kafka")} == {"running"}
    assert rows["cassandra-1"]["state"] == "down"
    code, _, err = commands.run("down")
    assert code == 0, err
    assert not any(psutil.pid_exists(int(str(pid))) for pid in pids)
    assert {row["state"] for row in commands.status().values()} == {"down"}


def test_nothing_is_written_below_the_users_home_or_tmp(commands: CommandLine) -> None:
    before = set(Path("/tmp").iterdir())
    code, _, err = commands.run("up", "redis", "kafka")
    assert code == 0, err
    commands.run("down")
    assert list(commands.user_home.iterdir()) == []
    left = {path.name for path in commands.home.parent.iterdir()} - {commands.home.name, commands.user_home.name}
    assert left == set()
    java = {path for path in set(Path("/tmp").iterdir()) - before if path.name.startswith((".java_pid", "hsperf"))}
    assert java == set()


def test_a_second_start_needs_no_network(commands: CommandLine) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        commands.env[name] = "http://127.0.0.1:1"  # every request through the proxy fails
    commands.env["no_proxy"] = "127.0.0.1"
    code, _, err = commands.run("up", "kafka")
    assert code == 0, err
    assert "fetching" not in err


def test_ctrl_c_while_starting_leaves_nothing_running(commands: CommandLine) -> None:
    commands.run("up", "redis")
    with commands.start("up", "kafka", "redis") as process:
        pid_file = commands.home / "run" / "kafka.json"
        for _ in range(1200):
            if pid_file.exists():
                break
            assert process.poll() is None, "it ended before Kafka was started"
            time.sleep(0.1)  # poll: a new file sends no notification
        kafka = json.loads(pid_file.read_text())["pid"]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
        assert process.returncode == 130
    assert not psutil.pid_exists(kafka)
    rows = commands.status()
    assert (rows["kafka"]["state"], rows["redis"]["state"]) == ("down", "running")


def test_two_ups_at_once_start_each_service_once(commands: CommandLine) -> None:
    with commands.start("up", "kafka") as first, commands.start("up", "kafka") as second:
        ends = [process.communicate(timeout=240) for process in (first, second)]
        codes = sorted((first.returncode, second.returncode))
    assert codes in ([0, 0], [0, 1]), ends
    if codes == [0, 1]:
        assert sum("another command" in err for _, err in ends) == 1
    servers = [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(commands.home / "conf" / "kafka") in " ".join(process.info["cmdline"] or ())
    ]
    assert len(servers) == 1


def test_kill_freeze_thaw_and_logs(commands: CommandLine) -> None:
    commands.run("up", "redis")
    for verb, state in (("freeze", "frozen"), ("thaw", "running"), ("kill", "died")):
        code, out, err = commands.run(verb, "redis")
        assert (code, err) == (0, "")
        assert out.startswith("redis")
        assert commands.status()["redis"]["state"] == state
    code, out, _ = commands.run("logs", "redis")
    assert code == 0
    assert "Ready to accept connections" in out
    code, _, err = commands.run("logs", "kafka")
    assert code == 1
    assert err.startswith("error: kafka has not written anything yet")


def test_reset_asks_first_and_then_deletes(commands: CommandLine) -> None:
    commands.run("up", "redis")
    (commands.home / "inbox" / "mine.csv").write_text("a\n1\n")
    code, _, err = commands.run("reset")
    assert code == 1
    assert "nothing was deleted" in err
    assert commands.status()["redis"]["state"] == "running"
    code, out, _ = commands.run("reset", "--yes")
    said = "all data of the services is deleted; jars, the inbox and benchmark results stay"
    assert (code, out.splitlines()[-1]) == (0, said)
    assert commands.status()["redis"]["state"] == "down"
    assert {path.name for path in commands.home.iterdir()} == {"inbox", "stack.lock"}
    assert (commands.home / "inbox" / "mine.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["up", "postgres"], 2, "error: no service 'postgres'"),
        (["freeze", "redis"], 1, "error: redis is not running: ./run up redis"),
        (["logs", "cassandra"], 2, "'cassandra' is 2 services"),
        (["nodetool", "1", "status"], 1, "error: cassandra-1 is not running"),
        (["nodetool", "99", "status"], 1, "error: cassandra-99: nodes are numbered 1 to 8"),
    ],
)
def test_wrong_usage_and_wrong_state_are_one_clear_line(
    commands: CommandLine, arguments: list[str], code: int, said: str
) -> None:
    ended, out, err = commands.run(*arguments)
    assert (ended, out) == (code, "")
    assert said in err
    assert err.count("\n") == 1


def test_a_wrong_setting_is_one_clear_line(commands: CommandLine) -> None:
    commands.env["MILLRACE_STACK__REDIS_PORT"] = "99999"
    code, _, err = commands.run("status")
    commands.env["MILLRACE_STACK__REDIS_PORT"] = str(free_port())
    assert code == 2
    assert err.startswith("error: wrong setting: MILLRACE_STACK__REDIS_PORT is '99999'")


@pytest.mark.parametrize(
    "verb", ["up", "down", "status", "kill", "freeze", "thaw", "logs", "nodetool", "reset", "compose"]
)
def test_every_command_has_help_with_an_example(commands: CommandLine, verb: str) -> None:
    code, out, _ = commands.run(verb, "--help")
    assert code == 0
    assert "Example: " in out
