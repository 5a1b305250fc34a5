"""The services that a benchmark needs, with a keyspace of its own in them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from cassandra import DriverException
from cassandra.cluster import NoHostAvailable
from pydantic import SecretStr

from bench.data import bench_folder
from local_stack.stack import Stack
from millrace.errors import StackError
from millrace.settings import Settings, load_settings
from millrace.store.cluster import schema
from millrace.store.cluster.session import CassandraSession

__all__ = ["KEYSPACE", "Cluster", "cluster", "services"]

KEYSPACE = "millrace_bench"
_TIMEOUT_S = 120
_joined: list[Cluster] = []
"""The cluster that is open in this process. Every other ``cluster()`` uses it."""


@contextmanager
def services(*names: str, heap_mb: int | None = None, dags_folder: Path | None = None) -> Iterator[Stack]:
    """Start the services named, and stop afterwards those that did not run before.

    ``heap_mb`` is the heap of the nodes. With it ``StackError`` is raised if nodes run already, perhaps with another
    heap. ``dags_folder`` has the DAGs of Airflow. With it ``StackError`` is raised if Airflow runs already.
    """
    stack = Stack()
    if dags_folder is not None:
        stack = Stack(stack.settings.model_copy(update={"airflow_dags_folder": dags_folder}))
    if heap_mb is not None:
        stack = Stack(stack.settings.model_copy(update={"cassandra_heap_mb": heap_mb}))
    names_to_start = {service.name for service in stack.select(names)}
    down = [row["service"] for row in stack.status() if row["service"] in names_to_start and row["state"] != "running"]
    if heap_mb is not None and len(down) < len(names_to_start):
        raise StackError(f"this benchmark needs nodes with heaps of {heap_mb} MiB", hint="./run down cassandra")
    if dags_folder is not None and "airflow" not in down:
        raise StackError("this benchmark needs an Airflow with DAGs of its own", hint="./run down airflow")
    if down:
        stack.up(down)
    try:
        yield stack
    finally:
        if down:
            stack.down(down)


class Cluster:
    """A session in the benchmark's keyspace, and the operations on the nodes that benchmarks need."""

    def __init__(self, cassandra: CassandraSession, settings: Settings, stack: Stack) -> None:
        self.cassandra = cassandra
        self.settings = settings
        self.stack = stack
        self._left: set[str] = set()

    @property
    def environment(self) -> dict[str, str]:
        """Return variables that give ``millrace.connect()`` in a child this keyspace, no cache and no progress."""
        return {
            "MILLRACE_CASSANDRA__KEYSPACE": KEYSPACE,
            "MILLRACE_REDIS__URL": "",
            "MILLRACE_KAFKA__BOOTSTRAP_SERVERS": "",
        }

    @property
    def release(self) -> str:
        """Return Cassandra's version."""
        row = self.cassandra.session.execute("SELECT release_version FROM system.local").one()
        return str(row.release_version)

    def execute(self, statement: str) -> None:
        """Execute one statement, with a timeout long enough for schema changes."""
        self.cassandra.session.execute(statement, timeout=_TIMEOUT_S)

    def create_like_chunks(self, table: str, *, clustering: str = "chunk, tile") -> None:
        """Create a table with the columns and options of the product's ``chunks``.

        The clustering columns are those of ``chunks``, too, unless ``clustering`` is given.
        """
        statement = schema.TABLES["chunks"].replace("{keyspace}", KEYSPACE).replace(".chunks", f".{table}")
        statement = statement.replace("bucket), chunk, tile)", f"bucket), {clustering})")
        self.execute(" ".join(statement.split()))
        self._no_snapshots(table)

    def empty(self, *tables: str) -> None:
        """Truncate these tables, which also frees the disk because they have no snapshots."""
        if not schema.TABLES.keys().isdisjoint(tables):
            self._left.clear()
        for table in tables:
            self.execute(f"TRUNCATE {KEYSPACE}.{table}")

    def leave(self, dataset: str) -> None:
        """Record that the complete dataset stays for later benchmarks on the same nodes."""
        self._left.add(dataset)

    def once(self, dataset: str, load: Callable[[], object]) -> None:
        """Call ``load()`` unless the dataset was left by an earlier benchmark, and leave it for later ones."""
        if dataset not in self._left:
            load()
            self.leave(dataset)

    def cpu_seconds(self) -> float:
        """Return the processor time that all nodes have used so far."""
        total = 0.0
        for row in self.stack.status():
            if row["service"].startswith("cassandra") and row["pid"]:
                times = psutil.Process(row["pid"]).cpu_times()
                total += times.user + times.system
        return total

    def _no_snapshots(self, table: str) -> None:
        # A node would keep every truncated gigabyte as a snapshot.
        self.execute(f"ALTER TABLE {KEYSPACE}.{table} WITH allow_auto_snapshot = false")

    def drop(self) -> None:
        """Drop the keyspace; raise ``StackError`` if the nodes are gone, which explains all earlier errors."""
        try:
            self.execute(f"DROP KEYSPACE IF EXISTS {KEYSPACE}")
        except (DriverException, NoHostAvailable) as error:
            raise StackError(
                f"the nodes went away during the benchmark ({type(error).__name__})",
                hint="see ./run status; the next benchmark clears what is left",
            ) from None

    def prepare(self) -> None:
        """Create an empty keyspace with the product's tables."""
        self.drop()
        schema.create(self.cassandra.session, self.settings.cassandra)
        for table in schema.TABLES:
            self._no_snapshots(table)


@contextmanager
def cluster(*, heap_mb: int | None = None) -> Iterator[Cluster]:
    """Start both nodes and empty the benchmark's keyspace; drop it at the end. One process at a time.

    Within another ``cluster()`` it yields that one with its data: benchmarks that run together share their nodes.
    Raises ``StackError`` if another process has the stack, or if ``heap_mb`` is given and nodes run already.
    """
    if _joined and heap_mb is None:
        yield _joined[0]
        return
    with _alone(), services("cassandra", heap_mb=heap_mb) as stack:
        settings = load_settings()
        own = settings.cassandra.model_copy(update={"keyspace": KEYSPACE})
        no_cache = settings.redis.model_copy(update={"url": SecretStr("")})
        settings = settings.model_copy(update={"cassandra": own, "redis": no_cache})
        cassandra = CassandraSession.connect(settings.cassandra)
        try:
            made = Cluster(cassandra, settings, stack)
            made.prepare()
            _joined.append(made)
            try:
                yield made
            finally:
                _joined.remove(made)
                made.drop()
        finally:
            cassandra.close()


@contextmanager
def _alone() -> Iterator[None]:
    with (bench_folder() / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise StackError(f"another benchmark (pid {file.read().strip()}) runs on this stack") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
