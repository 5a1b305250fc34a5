"""Check everything that Millrace needs: each service by itself, in parallel, each within its own time limit."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from millrace.errors import MillraceError
from millrace.settings import Settings, millrace_home, run_hint

if TYPE_CHECKING:
    from millrace.store import CassandraSession


State = Literal["ok", "warning", "failed"]

ANSWER_S: Final = 5.0
"""Timeout of a response of one service."""
PATIENCE_S: Final = 20.0
"""Timeout of all checks of one service; Cassandra's driver has several waits in a row."""
DISK_FREE_MIN: Final = 2_000_000_000
MEMORY_FREE_MIN: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one check. ``needed``: loads and reads are impossible without the checked service."""

    name: str
    state: State
    found: str
    advice: str = ""
    needed: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON: every field."""
        return asdict(self)


def diagnose(settings: Settings) -> list[Check]:
    """Check every service and return the results in a fixed order; never raise because a service is down.

    Takes as long as the slowest service, at most slightly longer than ``PATIENCE_S``.
    """
    examinations: dict[str, tuple[Callable[[Settings], Iterator[Check]], bool]] = {
        "cassandra": (_cassandra, True),
        "redis": (_redis, False),
        "kafka": (_kafka, False),
        "bridge": (_bridge, False),
        "airflow": (_airflow, False),
        "machine": (_machine, False),
    }
    pool = ThreadPoolExecutor(len(examinations), thread_name_prefix="millrace-doctor")
    try:
        asked = {name: pool.submit(_collect, each, settings) for name, (each, _) in examinations.items()}
        checks: list[Check] = []
        for name, (_, needed) in examinations.items():
            try:
                checks += asked[name].result(PATIENCE_S)
            except FutureTimeoutError:
                text = f"no response within {PATIENCE_S:g} s"
                checks.append(Check(name, "failed", text, f"it may be frozen or overloaded{run_hint('logs')}", needed))
        return checks
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _collect(examine: Callable[[Settings], Iterator[Check]], settings: Settings) -> list[Check]:
    name = examine.__name__.strip("_")
    checks: list[Check] = []
    try:
        for check in examine(settings):  # checks before an error are kept
            checks.append(check)
    except MillraceError as error:
        checks.append(Check(name, "failed", error.message, error.hint, needed=name == "cassandra"))
    except Exception as error:  # noqa: BLE001 - one failed check must not end the others
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        checks.append(Check(name, "failed", text, needed=name == "cassandra"))
    return checks


# --- Cassandra


def _cassandra(settings: Settings) -> Iterator[Check]:
    from millrace.store import CassandraSession, check_schema

    patient = settings.cassandra.model_copy(update={"connect_timeout_s": ANSWER_S, "request_timeout_s": ANSWER_S})
    cassandra = CassandraSession.connect(patient)
    try:
        yield from _nodes(cassandra)
        try:
            check_schema(cassandra.session, patient)
        except MillraceError as error:
            yield Check("keyspace", "failed", error.message, error.hint, needed=True)
            return
        keyspace = f"{patient.keyspace}, replication factor {patient.replication_factor}"
        yield Check("keyspace", "ok", keyspace, needed=True)
        yield from _under_replicated(cassandra)
    finally:
        cassandra.close()


def _nodes(cassandra: CassandraSession) -> Iterator[Check]:
    from cassandra.query import SimpleStatement

    from millrace.store import NODE_LOCAL

    hosts = cassandra.hosts()
    if len(hosts) < cassandra.settings.replication_factor:
        text = f"{len(hosts)} in data centre {cassandra.settings.local_dc}"
        yield Check("cassandra", "failed", text, f"two are needed{run_hint('up cassandra')}", needed=True)
    for host in hosts:
        name = f"cassandra {host.address}"
        try:
            # Reads the node's own data, which works only if the server allows it.
            query = "SELECT release_version FROM system.local WHERE key = 'local'"
            row = cassandra.execute(SimpleStatement(query, consistency_level=NODE_LOCAL), host=host)[0]
        except MillraceError as error:
            if type(error).__name__ == "StoreError":
                advice = "verify --each-replica needs it: start the node with -Dcassandra.enable_nodelocal_queries=true"
                yield Check(name, "warning", "up, but refuses NODE_LOCAL reads", advice, needed=True)
                continue
            advice = f"loads and reads continue with one replica, which is recorded{run_hint('up cassandra')}"
            yield Check(name, "failed", "does not respond", advice, needed=True)
            continue
        yield Check(name, "ok", f"Cassandra {row.release_version}", needed=True)
        yield from _commit_log(cassandra, host)


def _commit_log(cassandra: CassandraSession, host: Any) -> Iterator[Check]:
    """Warn if a node that is killed would lose writes that it has acknowledged."""
    query = (
        "SELECT name, value FROM system_views.settings WHERE name IN ('commitlog_sync', 'commitlog_disk_access_mode')"
    )
    try:
        node_config = {row.name: row.value for row in cassandra.execute(query, host=host)}
    except MillraceError:
        return  # older servers do not report it
    if node_config.get("commitlog_sync") == "periodic" and node_config.get("commitlog_disk_access_mode") in (
        "direct",
        "auto",
    ):
        text = "keeps its commit log in memory between syncs: kill -9 loses acknowledged writes since the last sync"
        advice = "set commitlog_disk_access_mode: legacy, or commitlog_sync: group, in cassandra.yaml"
        yield Check(f"commit log {host.address}", "warning", text, advice)


def _under_replicated(cassandra: CassandraSession) -> Iterator[Check]:
    """Check whether any data is on record as being on one node only; the records are a small table of their own."""
    rows = cassandra.execute(f"SELECT dataset FROM {cassandra.settings.keyspace}.under_replicated LIMIT 1000")  # noqa: S608
    names = sorted({row.dataset for row in rows})
    if not names:
        yield Check("replicas", "ok", "no under-replicated data on record")
        return
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    text = f"parts of {', '.join(names[:5])}{more} are on one node only"
    yield Check("replicas", "warning", text, "readable, but not safe before both nodes have it")


# --- services that loads and reads can do without


def _redis(settings: Settings) -> Iterator[Check]:
    from millrace.cache import ChunkCache
    from millrace.errors import CacheError

    if off := settings.redis.switched_off:
        yield Check("redis", "warning", f"switched off ({off})", "reads come from Cassandra")
        return
    cache = ChunkCache(settings.redis, cluster="", keyspace=settings.cassandra.keyspace)
    try:
        info = cache.ping()
    except CacheError as error:
        yield Check("redis", "failed", error.message, f"reads come from Cassandra meanwhile{run_hint('up redis')}")
        return
    finally:
        cache.close()
    limit = f"{info['maxmemory'] / 1e6:,.0f} MB" if info["maxmemory"] else "no limit"
    text = f"Redis {info['version']}, {info['used_memory'] / 1e6:,.0f} MB of {limit}"
    if info["policy"] not in ("noeviction", ""):
        advice = "versions are cached as a whole: set maxmemory-policy noeviction"
        yield Check("redis", "warning", f"{text}, policy {info['policy']}", advice)
        return
    yield Check("redis", "ok", text)


def _kafka(settings: Settings) -> Iterator[Check]:
    kafka = settings.kafka
    if kafka.switched_off:
        yield Check("kafka", "warning", f"switched off ({kafka.switched_off})", "no live progress")
        return
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    quiet: dict[str, Any] = {"log_level": 0, "error_cb": lambda _error: None}
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers, **quiet, **kafka.config})
    try:
        topics = admin.list_topics(timeout=ANSWER_S).topics
    except KafkaException as error:
        text = f"{kafka.bootstrap_servers} does not respond ({error.args[0].str()})"
        yield Check("kafka", "failed", text, f"loads and reads continue without live progress{run_hint('up kafka')}")
        return
    topic = topics.get(kafka.topic)
    if topic is None:
        yield Check("kafka", "failed", f"no topic {kafka.topic}", "run: millrace init")
        return
    text = f"topic {kafka.topic}, {len(topic.partitions)} partitions"
    if len(topic.partitions) != kafka.partitions:
        yield Check("kafka", "warning", text, f"MILLRACE_KAFKA__PARTITIONS says {kafka.partitions}")
        return
    yield Check("kafka", "ok", text)


def _bridge(settings: Settings) -> Iterator[Check]:
    import httpx

    url = settings.bridge.url.rstrip("/")
    try:
        alive = httpx.get(f"{url}/healthz", timeout=ANSWER_S, trust_env=False)
        ready = httpx.get(f"{url}/readyz", timeout=ANSWER_S, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        text = f"{url} does not respond ({type(error).__name__})"
        yield Check("bridge", "failed", text, f"live progress is not shown meanwhile{run_hint('up bridge')}")
        return
    if alive.status_code != 200:
        yield Check(
            "bridge", "failed", f"{url}/healthz returned {alive.status_code}", f"see its log{run_hint('logs bridge')}"
        )
    elif ready.status_code != 200:
        yield Check(
            "bridge", "warning", f"{url} is up and not caught up with Kafka", f"see its log{run_hint('logs bridge')}"
        )
    else:
        yield Check("bridge", "ok", url)


def _airflow(settings: Settings) -> Iterator[Check]:
    import httpx

    url = settings.airflow.url.rstrip("/")
    try:
        parts = httpx.get(f"{url}/api/v2/monitor/health", timeout=ANSWER_S, trust_env=False).json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        text = f"{url} does not respond ({type(error).__name__})"
        yield Check("airflow", "failed", text, f"no run is scheduled meanwhile{run_hint('up airflow')}")
        return
    states = {name: part.get("status") for name, part in parts.items() if isinstance(part, dict)}
    # A part that this installation does not run has no status at all.
    ill = [name for name, status in states.items() if status not in ("healthy", None)]
    if ill or not states:
        yield Check(
            "airflow", "failed", f"not healthy: {', '.join(ill) or url}", f"see its log{run_hint('logs airflow')}"
        )
        return
    yield Check("airflow", "ok", f"{url}: {', '.join(name for name, status in states.items() if status)} healthy")


def _machine(settings: Settings) -> Iterator[Check]:
    import psutil

    home = millrace_home()
    folder = next((each for each in (home, *home.parents) if each.is_dir()), Path("/"))
    free = shutil.disk_usage(folder).free
    text = f"{free / 1e9:,.1f} GB free at {folder}"
    yield Check("disk", *(("ok", text) if free >= DISK_FREE_MIN else ("warning", text, "a full disk stops Cassandra")))
    memory = psutil.virtual_memory()
    text = f"{memory.available / 1e9:,.1f} GB of {memory.total / 1e9:,.1f} GB available"
    few = f"the local stack needs more{run_hint('down airflow')}"
    yield Check("memory", *(("ok", text) if memory.available >= MEMORY_FREE_MIN else ("warning", text, few)))
