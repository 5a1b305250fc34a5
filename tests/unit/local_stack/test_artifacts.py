from __future__ import annotations

import gc
import hashlib
import threading
import warnings
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from local_stack.artifacts import ENVIRONMENTS, LOCKS, class_path, read_lock
from millrace.errors import StackError

COORDINATES = Path("org/example/thing/1.0/thing-1.0.jar")


def write_lock(folder: Path, content: bytes) -> None:
    (folder / "one.lock.toml").write_text(
        "[[dependencies]]\n"
        'groupId = "org.example"\nartifactId = "thing"\nversion = "1.0"\npackaging = "jar"\n'
        f'sha256 = "{hashlib.sha256(content).hexdigest()}"\n'
    )


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield the folder of a Maven repository on loopback, the only one that is queried."""
    from jgo.maven import _core

    folder = tmp_path / "registry"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setattr(_core, "DEFAULT_REMOTE_REPOS", {"test": f"http://127.0.0.1:{server.server_port}"})
        yield folder
        server.shutdown()
        thread.join()
    with warnings.catch_warnings():  # jgo leaves the connection of a 404 to the garbage collector
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def publish(registry: Path, content: bytes) -> None:
    (registry / COORDINATES).parent.mkdir(parents=True)
    (registry / COORDINATES).write_bytes(content)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_lock_names_versions_and_checksums_and_no_address(name: str) -> None:
    jars = read_lock(name)
    assert all(jar.version and len(jar.sha256) == 64 for jar in jars)
    assert "://" not in (LOCKS / f"{name}.lock.toml").read_text()


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_lock_holds_the_requested_artifacts_in_their_versions(name: str) -> None:
    locked = {f"{jar.group}:{jar.artifact}:{jar.version}" for jar in read_lock(name)}
    assert {coordinate.removesuffix("!") for coordinate in ENVIRONMENTS[name]} <= locked


def test_no_lock_mixes_two_versions_of_kafka() -> None:
    versions = {jar.version for jar in read_lock("kafka") if jar.group == "org.apache.kafka"}
    assert versions == {"4.3.1"}


def test_a_missing_jar_is_fetched_once_into_mavens_folder_layout(registry: Path, tmp_path: Path) -> None:
    publish(registry, b"the jar")
    write_lock(tmp_path, b"the jar")
    repository = tmp_path / "maven"
    assert class_path("one", repository, tmp_path) == [repository / COORDINATES]
    assert (repository / COORDINATES).read_bytes() == b"the jar"
    (registry / COORDINATES).unlink()
    assert class_path("one", repository, tmp_path) == [repository / COORDINATES]
    assert [path.name for path in repository.iterdir()] == ["org"], "no staging folder is left"


def test_a_fetched_jar_that_differs_from_its_lock_is_refused_by_name(registry: Path, tmp_path: Path) -> None:
    publish(registry, b"another jar")
    write_lock(tmp_path, b"the jar")
    repository = tmp_path / "maven"
    with pytest.raises(StackError, match=r"org\.example:thing:1\.0 is refused"):
        class_path("one", repository, tmp_path)
    assert not (repository / COORDINATES).exists()


def test_a_jar_that_was_changed_since_is_refused_by_name(registry: Path, tmp_path: Path) -> None:
    publish(registry, b"the jar")
    write_lock(tmp_path, b"the jar")
    repository = tmp_path / "maven"
    class_path("one", repository, tmp_path)
    (repository / COORDINATES).write_bytes(b"the jaR")
    with pytest.raises(StackError, match=r"org\.example:thing:1\.0 is refused"):
        class_path("one", repository, tmp_path)


def test_a_jar_that_no_repository_has_is_one_error_that_names_the_network(registry: Path, tmp_path: Path) -> None:
    write_lock(tmp_path, b"the jar")
    with pytest.raises(StackError, match=r"could not be fetched.*needs the network"):
        class_path("one", tmp_path / "maven", tmp_path)


@pytest.mark.parametrize("content", ["", "[[dependencies]\n", '[[dependencies]]\ngroupId = "a"\n'])
def test_a_damaged_lock_is_refused_with_its_path(tmp_path: Path, content: str) -> None:
    (tmp_path / "one.lock.toml").write_text(content)
    with pytest.raises(StackError, match=r"one\.lock\.toml: not a valid lock file"):
        read_lock("one", tmp_path)
