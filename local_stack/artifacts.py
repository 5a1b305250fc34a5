"""Fetch jars and verify them against lock files. A service starts only from jars that match byte for byte."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from millrace.errors import StackError

LOCKS = Path(__file__).parent / "locks"

ENVIRONMENTS: dict[str, tuple[str, ...]] = {
    "cassandra": ("org.apache.cassandra:cassandra-all:5.0.9",),
    # Kafka's distribution adds the binding of its log to log4j. Its Maven artifact does not depend on it.
    "kafka": ("org.apache.kafka:kafka_2.13:4.3.1", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4!"),
    "dsbulk": (
        "com.datastax.oss:dsbulk-runner:1.10.0",
        "com.datastax.oss:dsbulk-connectors-csv:1.10.0",
        "com.datastax.oss:dsbulk-workflow-load:1.10.0",
        "com.datastax.oss:dsbulk-workflow-unload:1.10.0",
        "com.datastax.oss:dsbulk-batcher-reactor:1.10.0",
        "com.datastax.oss:dsbulk-executor-reactor:1.10.0",
        "ch.qos.logback:logback-classic:1.2.3",
    ),
}
"""The root artifacts that each lock is resolved from. ``dsbulk`` is fetched for the load benchmark only."""

_OTHER_SYSTEMS = ("osx-", "windows-")
_FETCHERS = 8
_FETCH_TIMEOUT_S = 60


@dataclass(frozen=True)
class Jar:
    """One locked artifact: its Maven coordinates and the SHA-256 of its bytes."""

    group: str
    artifact: str
    version: str
    classifier: str
    sha256: str

    def __str__(self) -> str:
        return ":".join(filter(None, (self.group, self.artifact, self.version, self.classifier)))

    @property
    def path(self) -> Path:
        """Return the path of the jar relative to a Maven repository."""
        suffix = f"-{self.classifier}" if self.classifier else ""
        name = f"{self.artifact}-{self.version}{suffix}.jar"
        return Path(*self.group.split("."), self.artifact, self.version, name)


def read_lock(name: str, locks: Path = LOCKS) -> list[Jar]:
    """Return the jars of the lock ``name`` in class path order; raise ``StackError`` if the lock is unreadable."""
    path = locks / f"{name}.lock.toml"
    try:
        entries = tomllib.loads(path.read_text())["dependencies"]
        return [Jar(e["groupId"], e["artifactId"], e["version"], e.get("classifier", ""), e["sha256"]) for e in entries]
    except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
        raise StackError(f"{path}: not a valid lock file ({error!r})", hint="restore it from git") from error


def class_path(name: str, repository: Path, locks: Path = LOCKS) -> list[Path]:
    """Return the verified jars of ``name``, fetching only those that are missing.

    Every jar is hashed on every call. A jar whose SHA-256 differs from the lock raises ``StackError`` with its name. A
    fetched jar is moved into ``repository`` only after it was verified.
    """
    jars = read_lock(name, locks)
    missing = [jar for jar in jars if not (repository / jar.path).exists()]
    if missing:
        _fetch(name, missing, repository)
    for jar in jars:
        _check(jar, repository / jar.path)
    return [repository / jar.path for jar in jars]


def _check(jar: Jar, path: Path) -> None:
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != jar.sha256:
        raise StackError(
            f"{jar} is refused: {path} has SHA-256 {actual}, the lock file has {jar.sha256}",
            hint="delete the file to fetch it again",
        )


def _fetch(name: str, jars: list[Jar], repository: Path) -> None:
    import requests
    from jgo.maven import MavenContext

    print(f"fetching {len(jars)} jars for {name} (once)", file=sys.stderr, flush=True)
    repository.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix="fetch-", dir=repository))
    try:
        context = MavenContext(repo_cache=staging, timeout=_FETCH_TIMEOUT_S)

        def fetch(jar: Jar) -> None:
            component = context.project(jar.group, jar.artifact).at_version(jar.version)
            path = component.artifact(classifier=jar.classifier).resolve()
            _check(jar, path)
            (repository / jar.path).parent.mkdir(parents=True, exist_ok=True)
            path.replace(repository / jar.path)

        with ThreadPoolExecutor(_FETCHERS) as pool:
            for done in [pool.submit(fetch, jar) for jar in jars]:
                done.result()
    except (requests.RequestException, RuntimeError) as error:
        raise StackError(
            f"the jars of {name} could not be fetched ({error}); the first start needs the network"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_lock(name: str, repository: Path, locks: Path = LOCKS) -> int:
    """Resolve ``ENVIRONMENTS[name]`` anew and write its lock; return the number of jars.

    Only Linux jars are locked. The lock contains coordinates and SHA-256, but no address of a repository.
    """
    from jgo.env import LockFile
    from jgo.maven import MavenContext, ProfileConstraints, PythonResolver

    # The lock must not depend on the machine that writes it.
    platform = ProfileConstraints(jdk="17", os_name="Linux", os_family="unix", os_arch="amd64")
    resolver = PythonResolver(profile_constraints=platform)
    context = MavenContext(resolver=resolver, repo_cache=repository, timeout=_FETCH_TIMEOUT_S)
    dependencies = [context.create_dependency(c) for c in ENVIRONMENTS[name]]
    inputs, transitive = resolver.resolve(dependencies)
    kept = [d for d in (*inputs, *transitive) if not str(d.classifier).startswith(_OTHER_SYSTEMS)]
    lock = LockFile.from_resolved_dependencies(kept, environment_name=name, min_java_version=17)
    lock.save(locks / f"{name}.lock.toml")
    return len(kept)
