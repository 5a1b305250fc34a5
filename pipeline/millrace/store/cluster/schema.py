"""The tables: created once by ``millrace init`` with every node up, and checked at every connect.

No load, read or import ever creates a table. If two nodes create a table at the same time, each has a different table
under the same name. The schema's number is stored in the comment of ``versions``. A keyspace with another number is
rejected; ``millrace init`` upgrades one with the number before.
"""

from __future__ import annotations

from collections.abc import Mapping

from cassandra.cluster import Session
from cassandra.pool import Host

from millrace.errors import StoreSchemaError, StoreUnavailableError
from millrace.settings import CassandraSettings, run_hint

SCHEMA_NUMBER = 4
UPGRADED_NUMBER = 3
"""The schema number that ``millrace init`` upgrades in place."""

_AGREEMENT_S = 60
"""Seconds until all nodes must have the same schema. The driver's 10 s are too short on a busy machine."""

# NoopCompressor keeps a checksum per 64 KiB block of data that is already compressed. read_repair and speculative_retry
# are off because every read names its replica. An answer of the other replica, or an overwrite by last-write-wins,
# would hide a damaged copy. Missing and damaged copies are repaired differently.
_BLOBS = (
    "compression = {'class': 'NoopCompressor', 'chunk_length_in_kb': 64} "
    "AND compaction = {'class': 'UnifiedCompactionStrategy'} "
    "AND read_repair = 'NONE' AND speculative_retry = 'NEVER'"
)
_ROWS = "compaction = {'class': 'UnifiedCompactionStrategy'} AND read_repair = 'NONE' AND speculative_retry = 'NEVER'"

TABLES: dict[str, str] = {
    "chunks": f"""
        CREATE TABLE IF NOT EXISTS {{keyspace}}.chunks (
            dataset text, attempt_id uuid, bucket int, chunk int, tile smallint,
            data blob,
            PRIMARY KEY ((dataset, attempt_id, bucket), chunk, tile)
        ) WITH {_BLOBS}""",
    "pages": f"""
        CREATE TABLE IF NOT EXISTS {{keyspace}}.pages (
            dataset text, attempt_id uuid, page int,
            chunks int, rows bigint, raw_bytes bigint, stored_bytes bigint, checksum blob, data blob,
            PRIMARY KEY ((dataset, attempt_id), page)
        ) WITH {_BLOBS}""",
    "attempts": f"""
        CREATE TABLE IF NOT EXISTS {{keyspace}}.attempts (
            dataset text, attempt_id uuid,
            run text, fingerprint text, role text, split int, try_number int, first_row bigint, version text, host text,
            started timestamp, last_seen timestamp, buckets int, finished boolean, fenced boolean,
            PRIMARY KEY ((dataset), attempt_id)
        ) WITH {_ROWS}""",
    "versions": f"""
        CREATE TABLE IF NOT EXISTS {{keyspace}}.versions (
            dataset text, number int, hex text,
            parent text, mode text, kind text, attempt_id uuid, attempts int, run text, code text,
            rows bigint, raw_bytes bigint, stored_bytes bigint, chunks int, page_count int,
            source text, settings text, arrow_schema blob, pages blob, files blob,
            committed_at timestamp, checksum blob, deleted_at timestamp, purged_at timestamp, mark text,
            PRIMARY KEY ((dataset), number, hex)
        ) WITH CLUSTERING ORDER BY (number DESC, hex DESC)
            AND comment = 'millrace schema {SCHEMA_NUMBER}' AND {_ROWS}""",
    "datasets": f"""
        CREATE TABLE IF NOT EXISTS {{keyspace}}.datasets (
            shard int, dataset text,
            PRIMARY KEY ((shard), dataset)
        ) WITH {_ROWS}""",
    "tags": f"""
        CREATE TABLE IF NOT EXISTS {{keyspace}}.tags (
            dataset text, tag text, number int, hex text, removed boolean,
            PRIMARY KEY ((dataset), tag)
        ) WITH {_ROWS}""",
    "leases": f"""
        CREATE TABLE IF NOT EXISTS {{keyspace}}.leases (
            dataset text, lease uuid, number int, hex text, holder text, taken timestamp,
            PRIMARY KEY ((dataset), lease)
        ) WITH {_ROWS}""",
    "reports": f"""
        CREATE TABLE IF NOT EXISTS {{keyspace}}.reports (
            run text, dataset text, started timestamp, state text, version text, report blob,
            PRIMARY KEY ((run))
        ) WITH {_ROWS}""",
    "dataset_runs": f"""
        CREATE TABLE IF NOT EXISTS {{keyspace}}.dataset_runs (
            dataset text, started timestamp, run text, state text, version text, rows bigint, rejects bigint,
            PRIMARY KEY ((dataset), started, run)
        ) WITH CLUSTERING ORDER BY (started DESC, run DESC) AND {_ROWS}""",
    "under_replicated": f"""
        CREATE TABLE IF NOT EXISTS {{keyspace}}.under_replicated (
            dataset text, attempt_id uuid, bucket int, record_id uuid,
            chunks int, recorded_at timestamp,
            PRIMARY KEY ((dataset, attempt_id), bucket, record_id)
        ) WITH {_ROWS}""",
}


_UPGRADE = (
    "ALTER TABLE {keyspace}.versions ADD IF NOT EXISTS files blob",
    f"ALTER TABLE {{keyspace}}.versions WITH comment = 'millrace schema {SCHEMA_NUMBER}'",
)
"""The statements that upgrade a keyspace of ``UPGRADED_NUMBER`` after its new tables are created. The last one sets the
number, so an upgrade that was interrupted anywhere is done again. Each of them changes nothing when it is repeated."""


def statements(settings: CassandraSettings) -> list[str]:
    """Return the CQL of ``millrace init --print``, in order.

    It creates the keyspace and every table, and upgrades a keyspace of the schema before. In a new or current keyspace
    the statements of the upgrade change nothing.
    """
    keyspace = (
        f"CREATE KEYSPACE IF NOT EXISTS {settings.keyspace} WITH replication = "
        f"{{'class': 'NetworkTopologyStrategy', '{settings.local_dc}': {settings.replication_factor}}}"
    )
    return [keyspace, *(_rendered(text, settings) for text in (*TABLES.values(), *_UPGRADE))]


def _rendered(text: str, settings: CassandraSettings) -> str:
    return " ".join(text.replace("{keyspace}", settings.keyspace).split())


def create(session: Session, settings: CassandraSettings) -> int | None:
    """Create the keyspace and the tables on every node, or upgrade those of schema ``UPGRADED_NUMBER``.

    Returns the number that was upgraded, else None. Calling it again changes nothing.

    All statements go to one node, the same in every process. It runs them one after another, so two calls at the same
    moment never create a table twice. Every statement waits until all nodes have the same schema.

    Raises ``StoreUnavailableError`` while a node is down. A schema change made then may conflict with a different one
    on that node.
    """
    hosts = session.cluster.metadata.all_hosts()
    down = [str(host.address) for host in hosts if host.is_up is False]
    if down or len(hosts) < settings.replication_factor:
        raise StoreUnavailableError(
            f"tables can be created only while every node is up; down: {', '.join(down) or 'the second node'}",
            hint="start it and run millrace init again",
            node=", ".join(down) or None,
        )
    session.cluster.max_schema_agreement_wait = _AGREEMENT_S
    host = min(hosts, key=lambda host: (host.datacenter != settings.local_dc, str(host.address)))
    number = _number(_comments(session, settings.keyspace, host))
    if number != UPGRADED_NUMBER:
        _check_number(settings.keyspace, number)
    upgrades = number == UPGRADED_NUMBER
    every = statements(settings)
    for statement in every if upgrades else every[: -len(_UPGRADE)]:
        _change(session, statement, host)
    check(session, settings)
    return number if upgrades else None


def _change(session: Session, statement: str, host: Host) -> None:
    """Run one schema change; raise ``StoreUnavailableError`` unless all nodes then have the same schema."""
    result = session.execute(statement, timeout=60, host=host)
    if not result.response_future.is_schema_agreed:
        raise StoreUnavailableError(
            "the nodes do not have the same schema yet",
            hint="run millrace init again; millrace doctor shows the nodes",
        )


def check(session: Session, settings: CassandraSettings, host: Host | None = None) -> None:
    """Raise ``StoreSchemaError`` unless the keyspace has all tables, this schema's number and the configured RF.

    The queries go to ``host``, or each to a node of the driver's choice.
    """
    keyspace = settings.keyspace
    query = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = %s"
    row = session.execute(query, (keyspace,), host=host).one()
    if row is None:
        raise StoreSchemaError(f"keyspace {keyspace!r} does not exist", hint="run: millrace init")
    factor = row.replication.get(settings.local_dc)
    if factor != str(settings.replication_factor):
        raise StoreSchemaError(
            f"keyspace {keyspace!r} has replication factor {factor or 'none'} in {settings.local_dc}",
            hint=f"Millrace needs {settings.replication_factor}: use another keyspace (MILLRACE_CASSANDRA__KEYSPACE)",
            expected=settings.replication_factor,
            actual=factor,
        )
    comments = _comments(session, keyspace, host)
    _check_number(keyspace, _number(comments))
    missing = [name for name in TABLES if name not in comments]
    if missing:
        raise StoreSchemaError(
            f"keyspace {keyspace!r} lacks {', '.join(missing)}", hint="run: millrace init", actual=missing
        )


def _comments(session: Session, keyspace: str, host: Host | None = None) -> dict[str, str]:
    query = "SELECT table_name, comment FROM system_schema.tables WHERE keyspace_name = %s"
    rows = session.execute(query, (keyspace,), host=host)
    return {row.table_name: row.comment for row in rows}


def _number(comments: Mapping[str, str]) -> int | None:
    """Return the schema number of a keyspace's tables; 0 for a table ``versions`` that Millrace did not create.

    Returns None for a keyspace without that table.
    """
    if "versions" not in comments:
        return None
    digits = comments["versions"].rpartition(" ")[2]
    return int(digits) if digits.isdecimal() else 0


def _check_number(keyspace: str, number: int | None) -> None:
    """Raise ``StoreSchemaError`` if the keyspace was made by a Millrace with another schema number."""
    if number in (None, SCHEMA_NUMBER):
        return
    other = f"drop the keyspace and run millrace init, or use another keyspace{run_hint('reset')}"
    raise StoreSchemaError(
        f"keyspace {keyspace!r} has schema {number}, this Millrace has {SCHEMA_NUMBER}",
        hint="millrace init upgrades it" if number == UPGRADED_NUMBER else other,
        expected=SCHEMA_NUMBER,
        actual=number,
    )
