"""The shell script ``run``, in a minimal copy of the checkout with stand-ins for Python."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from dotenv import dotenv_values

from local_stack.settings import CHECKOUT

VENV_PYTHON = """#!/bin/sh
# What .venv/bin/python does here: notes how it was called. pip fails where the test says so.
echo "$@" >>"{calls}"
case "$*" in
*"pip install"*) echo "TMPDIR=$TMPDIR PIP_CACHE_DIR=$PIP_CACHE_DIR" >>"{calls}"; exit "$(cat "{folder}/pip_exit")" ;;
esac
"""

PYTHON = """#!/bin/sh
case "$1" in
-V) echo "Python {version}" ;;
-m) mkdir -p "$3/bin" && cp "{folder}/venv_python" "$3/bin/python" ;;
-c)
    case "$2" in
    *ensurepip*) exit {ensurepip} ;;
    *"(3, 11)"*) exit {suitable} ;;
    *) echo "{version}" ;;
    esac ;;
esac
"""


class Checkout:
    """A folder with ``run``, a lock and a PATH that holds only the tools and Pythons put there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.calls_file = folder / "calls"
        self.bin.mkdir(parents=True)
        shutil.copy(CHECKOUT / "run", folder / "run")
        (folder / "requirements.txt").write_text("one==1\n")
        (folder / "pyproject.toml").write_text("")
        (folder / "setup.py").write_text("")
        (folder / "pip_exit").write_text("0")
        self.calls_file.write_text("")
        self.executable(folder / "venv_python", VENV_PYTHON.format(calls=self.calls_file, folder=folder))
        for tool in ("sh", "cat", "cksum", "mkdir", "rm", "cp", "dirname", "flock", "grep", "od", "tr"):
            if path := shutil.which(tool):
                (self.bin / tool).symlink_to(path)

    def executable(self, path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)

    def python(self, name: str, version: str, *, suitable: bool = True, ensurepip: bool = True) -> None:
        text = PYTHON.format(
            folder=self.folder, version=version, suitable=int(not suitable), ensurepip=int(not ensurepip)
        )
        self.executable(self.bin / name, text)

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.folder / "run"), *arguments],
            env={"PATH": str(self.bin), "HOME": "/nonexistent", **env},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    @property
    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "a checkout")


COMMANDS = [
    "demo",
    "test",
    "check",
    "bench",
    "up",
    "down",
    "status",
    "logs",
    "kill",
    "freeze",
    "thaw",
    "nodetool",
    "airflow",
    "reset",
    "compose",
    "compose-env",
]


@pytest.mark.parametrize("asked", [(), ("help",), ("--help",)])
def test_without_a_command_run_lists_them_and_makes_no_environment(checkout: Checkout, asked: tuple[str, ...]) -> None:
    done = checkout.run(*asked)
    assert done.returncode == 0
    for command in COMMANDS:
        assert command in done.stdout
    assert not (checkout.folder / ".venv").exists()


def test_an_unknown_command_is_wrong_usage(checkout: Checkout) -> None:
    done = checkout.run("upp")
    assert done.returncode == 2
    assert done.stderr.endswith("error: no command 'upp'\n")
    assert not (checkout.folder / ".venv").exists()


def test_the_first_command_makes_the_environment_and_the_second_does_not(checkout: Checkout) -> None:
    checkout.python("python3.12", "3.12")
    done = checkout.run("status", "--json")
    assert done.returncode == 0, done.stderr
    assert "making .venv with Python 3.12" in done.stderr
    where = f"TMPDIR={checkout.folder}/.millrace/tmp PIP_CACHE_DIR={checkout.folder}/.millrace/cache/pip"
    assert checkout.calls == [
        "-m pip install --quiet --require-hashes --no-deps -r requirements.txt",
        where,
        "-m pip install --quiet --no-deps --no-build-isolation -e .",
        where,
        "-m local_stack status --json",
    ]
    again = checkout.run("up", "redis")
    assert again.stderr == ""
    assert checkout.calls[5:] == ["-m local_stack up redis"]


def test_temporary_files_of_every_command_stay_in_the_checkout(checkout: Checkout) -> None:
    checkout.python("python3.12", "3.12")
    venv_python = checkout.folder / "venv_python"
    venv_python.write_text(venv_python.read_text() + f'echo "TMPDIR=$TMPDIR" >>"{checkout.calls_file}"\n')
    checkout.run("test", "unit")
    assert checkout.calls[-2:] == ["-m tests.run unit", f"TMPDIR={checkout.folder}/.millrace/tmp"]
    assert (checkout.folder / ".millrace" / "tmp").is_dir()


def test_a_changed_lock_brings_the_environment_up_to_date_once(checkout: Checkout) -> None:
    checkout.python("python3.12", "3.12")
    checkout.run("status")
    (checkout.folder / "requirements.txt").write_text("one==2\n")
    before = len(checkout.calls)
    assert "requirements.txt, pyproject.toml or setup.py changed" in checkout.run("status").stderr
    assert sum("pip install" in call for call in checkout.calls[before:]) == 2
    before = len(checkout.calls)
    checkout.run("status")
    assert checkout.calls[before:] == ["-m local_stack status"]


def test_a_half_made_environment_is_made_again(checkout: Checkout) -> None:
    checkout.python("python3.12", "3.12")
    (checkout.folder / "pip_exit").write_text("1")
    failed = checkout.run("status")
    assert failed.returncode == 1
    assert "error: the packages could not be installed" in failed.stderr
    assert not any(call.startswith("-m local_stack") for call in checkout.calls)
    (checkout.folder / ".venv" / "half").write_text("")
    (checkout.folder / "pip_exit").write_text("0")
    assert checkout.run("status").returncode == 0
    assert not (checkout.folder / ".venv" / "half").exists()


def test_a_python_that_is_there_but_does_not_work_is_passed_over(checkout: Checkout) -> None:
    checkout.executable(checkout.bin / "python3.12", "#!/bin/sh\necho 'shim: version not installed' >&2\nexit 127\n")
    checkout.python("python3.11", "3.11")
    assert "making .venv with Python 3.11" in checkout.run("status").stderr


def test_a_python_with_wheels_for_everything_is_preferred(checkout: Checkout) -> None:
    checkout.python("python3.13", "3.13")
    checkout.python("python3", "3.13")
    checkout.python("python3.11", "3.11")
    assert "making .venv with Python 3.11" in checkout.run("status").stderr


def test_python_3_13_is_taken_where_there_is_no_other(checkout: Checkout) -> None:
    checkout.python("python3.13", "3.13")
    assert "making .venv with Python 3.13" in checkout.run("status").stderr


def test_the_python_that_was_named_is_taken(checkout: Checkout) -> None:
    checkout.python("python3.12", "3.12")
    checkout.python("mine", "3.11")
    done = checkout.run("status", MILLRACE_PYTHON=str(checkout.bin / "mine"))
    assert "making .venv with Python 3.11" in done.stderr


def test_a_named_python_that_does_not_work_is_refused_by_its_name(checkout: Checkout) -> None:
    checkout.python("python3.12", "3.12")
    done = checkout.run("status", MILLRACE_PYTHON="python3.9")
    assert done.returncode == 1
    assert done.stderr == "error: MILLRACE_PYTHON is python3.9, which is no working Python 3.11 to 3.13\n"


def test_without_a_suitable_python_the_error_names_the_versions_needed(checkout: Checkout) -> None:
    checkout.python("python3", "3.10", suitable=False)
    done = checkout.run("status")
    assert done.returncode == 1
    assert done.stderr.startswith("error: no working Python 3.11 to 3.13 on the PATH")
    assert not (checkout.folder / ".venv").exists()


def test_without_debians_venv_package_the_error_gives_the_command_that_installs_it(checkout: Checkout) -> None:
    checkout.python("python3.11", "3.11", ensurepip=False)
    python = (checkout.bin / "python3.11").read_text()
    checkout.executable(
        checkout.bin / "python3.11", python.replace("-m) mkdir", "-m) mkdir -p .venv/bin; exit 1; mkdir")
    )
    done = checkout.run("status")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "error: python3.11 cannot make virtual environments; this mends it: apt-get install python3.11-venv"
    )
    assert not (checkout.folder / ".venv").exists(), "nothing half-made is left"


@pytest.mark.parametrize(
    ("asked", "called"),
    [
        (["kill", "cassandra-2"], "-m local_stack kill cassandra-2"),
        (["nodetool", "1", "status", "-r"], "-m local_stack nodetool 1 status -r"),
        (["logs", "kafka", "-f"], "-m local_stack logs kafka -f"),
        (["airflow", "dags", "test", "x", "--conf", "{}"], "-m local_stack airflow dags test x --conf {}"),
        (["airflow", "--help"], "-m local_stack airflow --help"),
        (["compose", "--check"], "-m local_stack compose --check"),
        (["test", "unit", "--seed", "7"], "-m tests.run unit --seed 7"),
        (["bench", "load"], "-m bench load"),
        (["demo", "--exit"], "-m local_stack.demo --exit"),
    ],
)
def test_each_command_goes_to_its_program(checkout: Checkout, asked: list[str], called: str) -> None:
    checkout.python("python3.12", "3.12")
    assert checkout.run(*asked).returncode == 0
    assert checkout.calls[-1] == called


def test_check_runs_every_check_even_when_one_fails(checkout: Checkout) -> None:
    checkout.python("python3.12", "3.12")
    venv_python = checkout.folder / "venv_python"
    venv_python.write_text(venv_python.read_text() + 'case "$*" in *"ruff check"*) exit 1 ;; esac\n')
    done = checkout.run("check")
    assert done.returncode == 1
    assert [call.split()[1] for call in checkout.calls if "pip install" not in call and "TMPDIR" not in call] == [
        "ruff", "ruff", "mypy", "local_stack", "millrace.declarations.schema",
        "millrace.load.report_schema", "tests.prose", "tests.private_uses",
    ]  # fmt: skip


def test_the_script_runs_from_any_folder(checkout: Checkout, tmp_path: Path) -> None:
    checkout.python("python3.12", "3.12")
    env = {"PATH": str(checkout.bin), "HOME": os.devnull}
    subprocess.run([str(checkout.folder / "run"), "status"], env=env, cwd=tmp_path, check=True, timeout=60)
    assert checkout.calls[-1] == "-m local_stack status"


def read_env(checkout: Checkout) -> dict[str, str | None]:
    return dict(dotenv_values(checkout.folder / ".env"))


def test_compose_env_writes_the_variables_of_docker_compose_without_installing_anything(
    checkout: Checkout,
) -> None:
    done = checkout.run("compose-env")
    assert (done.returncode, done.stderr) == (0, "")
    assert not (checkout.folder / ".venv").exists()
    written = read_env(checkout)
    assert set(written) == {"AIRFLOW_PASSWORDS", "MILLRACE_BRIDGE__TOKEN"}
    assert len(str(written["MILLRACE_BRIDGE__TOKEN"])) == 48
    passwords = json.loads(str(written["AIRFLOW_PASSWORDS"]))
    assert set(passwords) == {"admin"}
    assert len(passwords["admin"]) == 24
    assert (checkout.folder / ".env").stat().st_mode & 0o777 == 0o600
    assert (checkout.folder / ".millrace" / "inbox").stat().st_mode & 0o005 == 0o005, "user 50000 must read it"
    assert passwords["admin"] not in done.stdout


def test_compose_env_never_overwrites_a_file_and_makes_other_secrets_elsewhere(
    checkout: Checkout, tmp_path: Path
) -> None:
    checkout.run("compose-env")
    before = (checkout.folder / ".env").read_bytes()
    done = checkout.run("compose-env")
    assert (done.returncode, done.stdout) == (0, ".env is there and was left as it is\n")
    assert (checkout.folder / ".env").read_bytes() == before
    other = Checkout(tmp_path / "another")
    other.run("compose-env")
    assert not set(read_env(checkout).values()) & set(read_env(other).values())


def test_compose_env_names_a_variable_that_an_older_file_lacks_and_leaves_the_file(checkout: Checkout) -> None:
    (checkout.folder / ".env").write_text("MILLRACE_BRIDGE__TOKEN=mine\n")
    done = checkout.run("compose-env")
    assert done.returncode == 1
    assert done.stderr == ("error: .env is there and has no AIRFLOW_PASSWORDS; add it, or delete .env and try again\n")
    assert (checkout.folder / ".env").read_text() == "MILLRACE_BRIDGE__TOKEN=mine\n"


def test_compose_env_takes_no_arguments(checkout: Checkout) -> None:
    assert checkout.run("compose-env", "--force").returncode == 2
    assert not (checkout.folder / ".env").exists()
