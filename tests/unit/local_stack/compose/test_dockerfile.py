from __future__ import annotations

import re

import pytest

from local_stack.settings import CHECKOUT
from tests.compose_file import read_compose

DOCKERFILE = (CHECKOUT / "Dockerfile").read_text()
TARGETS = dict(re.findall(r"^FROM \S+ AS (\w+)\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL))


def test_it_has_the_two_targets_and_each_is_built_under_its_own_name() -> None:
    assert set(TARGETS) == {"bridge", "airflow"}
    built = {
        (service["image"], service["build"]["target"])
        for service in read_compose()["services"].values()
        if "build" in service
    }
    assert built == {("millrace-bridge:0.1.0", "bridge"), ("millrace-airflow:0.1.0", "airflow")}


def test_its_python_is_one_that_the_project_supports() -> None:
    (version,) = re.findall(r"^FROM python:(\d+\.\d+)-slim", DOCKERFILE, re.MULTILINE)
    assert version in {"3.11", "3.12", "3.13"}


@pytest.mark.parametrize("target", ["bridge", "airflow"])
def test_each_target_installs_its_own_lock_and_checks_it(target: str) -> None:
    (install,) = re.findall(r"^RUN pip install .*$", TARGETS[target], re.MULTILINE)
    assert install.endswith(f"--require-hashes --only-binary :all: -r requirements-{target}.txt && pip check")


@pytest.mark.parametrize("target", ["bridge", "airflow"])
def test_each_target_ends_as_a_user_without_rights(target: str) -> None:
    assert re.findall(r"^USER (.*)$", TARGETS[target], re.MULTILINE)[-1] == "50000"


def test_everything_it_copies_exists_and_only_that_is_in_the_build_context() -> None:
    copied = set(re.findall(r"^COPY (\S+)", DOCKERFILE, re.MULTILINE))
    ignored = (CHECKOUT / ".dockerignore").read_text().split()
    assert ignored[0] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == copied
    assert all((CHECKOUT / name).exists() for name in copied)
    assert "local_stack" not in copied
    assert "tests" not in copied


def test_every_code_folder_that_the_product_imports_is_copied() -> None:
    assert {"pipeline", "sse_bridge", "dags", "plugins"} <= set(re.findall(r"^COPY (\S+)", DOCKERFILE, re.MULTILINE))
