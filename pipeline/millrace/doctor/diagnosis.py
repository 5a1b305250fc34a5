"""Check every service that Millrace needs. The checks run in parallel, and each has its own time limit."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from millrace.errors import CacheError, MillraceError, StoreError
from millrace.settings import Settings, millrace_home, run_hint

if TYPE_CHECKING:
    from millrace.store import CassandraSession


TIMEOUT_S: Final = 5.0
"""Timeout of a response of one service."""
SERVICE_TIMEOUT_S: Final = 20.0
"""Timeout of all checks of one service; Cassandra's driver has several waits in a row."""
DISK_FREE_MIN: Final = 2_000_000_000
MEMORY_FREE_MIN: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one check. ``needed``: loads and reads are impossible without the checked service."""

    name: str
    state: Literal["ok", "warning", "failed"]
    result: str
    advice: str = ""
    needed: bool = False


def diagnose(settings: Settings, service_timeout_s: float = SERVICE_TIMEOUT_S) -> list[Check]:
    """Check every service and return the results in a fixed order; never raise because a service is down.

    Takes as long as the slowest service, at most slightly longer than ``service_timeout_s``.
    """
    examinations: dict[str, Callable[[Settings], Check | Iterator[Check]]] = {
        "cassandra": _cassandra,
        "redis": _redis,
        "kafka": _kafka,
        "bridge": _bridge,
        "airflow": _airflow,
        "disk": _disk,
        "memory": _memory,
    }
    pool = ThreadPoolExecutor(len(examinations), thread_name_prefix="millrace-doctor")
    try:
        futures = {name: pool.submit(_collect, name, examine, settings) for name, examine in examinations.items()}
        return [check for name, future in futures.items() for check in _wait_for(name, future, service_timeout_s)]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _wait_for(name: str, checks: Future[list[Check]], timeout_s: float) -> list[Check]:
    try:
        return checks.result(timeout_s)
    except TimeoutError:
        text = f"no response within {timeout_s:g} s"
        return [_failure(name, text, f"it may be frozen or overloaded{run_hint('logs')}")]


def _collect(name: str, examine: Callable[[Settings], Check | Iterator[Check]], settings: Settings) -> list[Check]:
    checks: list[Check] = []
    try:
        results = examine(settings)
        for check in [results] if isinstance(results, Check) else results:  # checks before an error are kept
            checks.append(check)
    except MillraceError as error:
        checks.append(_failure(name, error.message, error.hint))
    except Exception as error:  # noqa: BLE001 - one failed check must not end the others
        checks.append(_failure(name, f"{type(error).__name__}: {' '.join(str(error).split())}"))
    return checks


def _failure(name: str, result: str, advice: str = "") -> Check:
    return Check(name, "failed", result, advice, needed=name == "cassandra")


def _cassandra(settings: Settings) -> Iterator[Check]:
    from millrace.store import CassandraSession, check_schema

    limited = settings.cassandra.model_copy(update={"connect_timeout_s": TIMEOUT_S, "request_timeout_s": TIMEOUT_S})
    with closing(CassandraSession.connect(limited)) as cassandra:
        yield from _nodes(cassandra)
        try:
            check_schema(cassandra.session, limited)
        except MillraceError as error:
            yield Check("keyspace", "failed", error.message, error.hint, needed=True)
            return
        keyspace = f"{limited.keyspace}, replication factor {limited.replication_factor}"
        yield Check("keyspace", "ok", keyspace, needed=True)
        yield _replicas(cassandra)


def _nodes(cassandra: CassandraSession) -> Iterator[Check]:
    if len(hosts := cassandra.hosts()) < cassandra.settings.replication_factor:
        text = f"{len(hosts)} in data centre {cassandra.settings.local_dc}"
        yield Check("cassandra", "failed", text, f"two are needed{run_hint('up cassandra')}", needed=True)
    for host in hosts:
        node = _node(cassandra, host)
        yield node
        if node.state == "ok" and _loses_acknowledged_writes(cassandra, host):
            text = "keeps its commit log in memory between syncs: kill -9 loses acknowledged writes since the last sync"
            advice = "set commitlog_disk_access_mode: legacy, or commitlog_sync: group, in cassandra.yaml"
            yield Check(f"commit log {host.address}", "warning", text, advice)


def _node(cassandra: CassandraSession, host: Any) -> Check:
    from cassandra.query import SimpleStatement

    from millrace.store import NODE_LOCAL

    name = f"cassandra {host.address}"
    query = "SELECT release_version FROM system.local WHERE key = 'local'"
    try:
        # Reads the node's own data, which works only if the server allows it.
        row = cassandra.execute(SimpleStatement(query, consistency_level=NODE_LOCAL), host=host)[0]
    except MillraceError as error:
        if type(error) is StoreError:
            advice = "verify --each-replica needs it: start the node with -Dcassandra.enable_nodelocal_queries=true"
            return Check(name, "warning", "up, but refuses NODE_LOCAL reads", advice, needed=True)
        advice = f"loads and reads continue with one replica, which is recorded{run_hint('up cassandra')}"
        return Check(name, "failed", "does not respond", advice, needed=True)
    return Check(name, "ok", f"Cassandra {row.release_version}", needed=True)


def _loses_acknowledged_writes(cassandra: CassandraSession, host: Any) -> bool:
    """Return whether a node that is killed loses writes that it has acknowledged."""
    query = "SELECT name, value FROM system_views.settings"
    try:
        config = {row.name: row.value for row in cassandra.execute(query, host=host)}
    except MillraceError:
        return False  # older servers do not report it
    modes = (config.get("commitlog_sync"), config.get("commitlog_disk_access_mode"))
    return modes in (("periodic", "direct"), ("periodic", "auto"))


def _replicas(cassandra: CassandraSession) -> Check:
    """Check whether any data is on record as being on one node only; the records are a small table of their own."""
    rows = cassandra.execute(f"SELECT dataset FROM {cassandra.settings.keyspace}.under_replicated LIMIT 1000")  # noqa: S608
    names = sorted({row.dataset for row in rows})
    if not names:
        return Check("replicas", "ok", "no under-replicated data on record")
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    text = f"parts of {', '.join(names[:5])}{more} are on one node only"
    return Check("replicas", "warning", text, "readable; millrace repair NAME copies it to the other node")


def _redis(settings: Settings) -> Check:
    from millrace.cache import ChunkCache

    if off := settings.redis.switched_off:
        return Check("redis", "warning", f"switched off ({off})", "reads come from Cassandra")
    try:
        with closing(ChunkCache(settings.redis, cluster="", keyspace=settings.cassandra.keyspace)) as cache:
            info = cache.ping()
    except CacheError as error:
        return Check("redis", "failed", error.message, f"reads come from Cassandra meanwhile{run_hint('up redis')}")
    limit = f"{info['maxmemory'] / 1e6:,.0f} MB" if info["maxmemory"] else "no limit"
    text = f"Redis {info['version']}, {info['used_memory'] / 1e6:,.0f} MB of {limit}"
    if info["policy"] not in ("noeviction", ""):
        advice = "versions are cached as a whole: set maxmemory-policy noeviction"
        return Check("redis", "warning", f"{text}, policy {info['policy']}", advice)
    return Check("redis", "ok", text)


def _kafka(settings: Settings) -> Check:
    kafka = settings.kafka
    if kafka.switched_off:
        return Check("kafka", "warning", f"switched off ({kafka.switched_off})", "no live progress")
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    quiet: dict[str, Any] = {"log_level": 0, "error_cb": lambda _error: None}
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers, **quiet, **kafka.config})
    try:
        topic = admin.list_topics(timeout=TIMEOUT_S).topics.get(kafka.topic)
    except KafkaException as error:
        text = f"{kafka.bootstrap_servers} does not respond ({error.args[0].str()})"
        return Check("kafka", "failed", text, f"loads and reads continue without live progress{run_hint('up kafka')}")
    if topic is None:
        return Check("kafka", "failed", f"no topic {kafka.topic}", "run: millrace init")
    text = f"topic {kafka.topic}, {len(topic.partitions)} partitions"
    if len(topic.partitions) != kafka.partitions:
        return Check("kafka", "warning", text, f"MILLRACE_KAFKA__PARTITIONS is {kafka.partitions}")
    return Check("kafka", "ok", text)


def _bridge(settings: Settings) -> Check:
    import httpx

    url = settings.bridge.url.rstrip("/")
    try:
        alive, ready = (
            httpx.get(f"{url}/{path}", timeout=TIMEOUT_S, trust_env=False).status_code for path in ("healthz", "readyz")
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        text = f"{url} does not respond ({type(error).__name__})"
        return Check("bridge", "failed", text, f"live progress is not shown meanwhile{run_hint('up bridge')}")
    advice = f"see its log{run_hint('logs bridge')}"
    if alive != 200:
        return Check("bridge", "failed", f"{url}/healthz returned {alive}", advice)
    if ready != 200:
        return Check("bridge", "warning", f"{url} is up and not caught up with Kafka", advice)
    return Check("bridge", "ok", url)


def _airflow(settings: Settings) -> Check:
    import httpx

    url = settings.airflow.url.rstrip("/")
    try:
        parts = httpx.get(f"{url}/api/v2/monitor/health", timeout=TIMEOUT_S, trust_env=False).json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        text = f"{url} does not respond ({type(error).__name__})"
        return Check("airflow", "failed", text, f"no run is scheduled meanwhile{run_hint('up airflow')}")
    # A part that this installation does not run has no status at all.
    states = {name: part["status"] for name, part in parts.items() if isinstance(part, dict) and part.get("status")}
    unhealthy = [name for name, status in states.items() if status != "healthy"]
    if unhealthy or not states:
        advice = f"see its log{run_hint('logs airflow')}"
        return Check("airflow", "failed", f"not healthy: {', '.join(unhealthy) or url}", advice)
    return Check("airflow", "ok", f"{url}: {', '.join(states)} healthy")


def _disk(_settings: Settings) -> Check:
    home = millrace_home()
    folder = next((folder for folder in (home, *home.parents) if folder.is_dir()), Path("/"))
    free = shutil.disk_usage(folder).free
    text = f"{free / 1e9:,.1f} GB free at {folder}"
    if free < DISK_FREE_MIN:
        return Check("disk", "warning", text, "a full disk stops Cassandra")
    return Check("disk", "ok", text)


def _memory(_settings: Settings) -> Check:
    import psutil

    memory = psutil.virtual_memory()
    text = f"{memory.available / 1e9:,.1f} GB of {memory.total / 1e9:,.1f} GB available"
    if memory.available < MEMORY_FREE_MIN:
        return Check("memory", "warning", text, f"the local stack needs more{run_hint('down airflow')}")
    return Check("memory", "ok", text)
