"""The tables: created once by ``millrace init`` with every node up, and checked at every connect.

No load, read or import ever creates a table. If two nodes create a table at the same time, each has a different table
under the same name. The schema's number is stored in the comment of ``versions``. A keyspace with another number is
rejected.
"""

from __future__ import annotations

from collections.abc import Mapping

from cassandra.cluster import Session
from cassandra.pool import Host

from millrace.errors import StoreSchemaError, StoreUnavailableError
from millrace.settings import CassandraSettings, run_hint

SCHEMA_NUMBER = 4

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


def statements(settings: CassandraSettings) -> list[str]:
    """Return the CQL that creates the keyspace and every table, in order, as ``millrace init --print`` shows it."""
    keyspace = (
        f"CREATE KEYSPACE IF NOT EXISTS {settings.keyspace} WITH replication = "
        f"{{'class': 'NetworkTopologyStrategy', '{settings.local_dc}': {settings.replication_factor}}}"
    )
    tables = (" ".join(table.replace("{keyspace}", settings.keyspace).split()) for table in TABLES.values())
    return [keyspace, *tables]


def create(session: Session, settings: CassandraSettings) -> None:
    """Create the keyspace and the tables on every node. Calling it again changes nothing.

    Raises ``StoreUnavailableError`` while a node is down. A schema change made then may conflict with a different one
    on that node.
    """
    down = [str(host.address) for host in session.cluster.metadata.all_hosts() if host.is_up is False]
    if down or len(session.cluster.metadata.all_hosts()) < settings.replication_factor:
        raise StoreUnavailableError(
            f"tables can be created only while every node is up; down: {', '.join(down) or 'the second node'}",
            hint="start it and run millrace init again",
            node=", ".join(down) or None,
        )
    _check_number(settings.keyspace, _comments(session, settings.keyspace))
    for statement in statements(settings):
        session.execute(statement, timeout=60)
    check(session, settings)


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
    _check_number(keyspace, comments)
    missing = [name for name in TABLES if name not in comments]
    if missing:
        raise StoreSchemaError(
            f"keyspace {keyspace!r} lacks {', '.join(missing)}", hint="run: millrace init", actual=missing
        )


def _comments(session: Session, keyspace: str, host: Host | None = None) -> dict[str, str]:
    query = "SELECT table_name, comment FROM system_schema.tables WHERE keyspace_name = %s"
    rows = session.execute(query, (keyspace,), host=host)
    return {row.table_name: row.comment for row in rows}


def _check_number(keyspace: str, comments: Mapping[str, str]) -> None:
    """Raise ``StoreSchemaError`` if the keyspace was made by a Millrace with another schema number.

    The number is 0 for a table ``versions`` that Millrace did not create.
    """
    if "versions" not in comments:
        return
    digits = comments["versions"].rpartition(" ")[2]
    number = int(digits) if digits.isdecimal() else 0
    if number != SCHEMA_NUMBER:
        raise StoreSchemaError(
            f"keyspace {keyspace!r} has schema {number}, this Millrace has {SCHEMA_NUMBER}",
            hint=f"drop the keyspace and run millrace init, or use another keyspace{run_hint('reset')}",
            expected=SCHEMA_NUMBER,
            actual=number,
        )
