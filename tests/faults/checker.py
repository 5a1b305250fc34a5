"""An independent checker that reads the stored data by docs/format.md, with the driver alone, and reports errors.

It imports nothing of the product, so that a fault in the product's readers cannot hide itself. Everything is read
three ways: from both nodes together, and from each node alone (consistency 11, ``NODE_LOCAL``).
"""

from __future__ import annotations

import gzip
import json
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from cassandra import ConsistencyLevel
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from cassandra.policies import FallthroughRetryPolicy, RoundRobinPolicy

NODE_LOCAL = 11
ConsistencyLevel.value_to_name.setdefault(NODE_LOCAL, "NODE_LOCAL")  # the driver cannot print a level without a name
BOTH = "both nodes"
_KEPT = 2_000
_EPOCH = datetime(1970, 1, 1)
"""Without a time zone, because the driver returns naive datetimes."""


class Missing(Exception):
    """Stored data that is referenced and missing."""


class Damaged(Exception):
    """Stored data that differs from the written data."""


@dataclass
class Expected:
    """The expected state of a dataset: every acknowledged version with its table, the latest version and the tags.

    ``attempted`` are the tables of loads with an unknown result: a visible version that equals one is not a phantom.
    """

    versions: Mapping[str, pa.Table]
    attempted: Sequence[pa.Table] = ()
    latest: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Verdict:
    """The findings of a check: each names the way of reading, the dataset and the error."""

    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    phantom: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    chunks: int = 0
    """Chunks that were read and are correct, summed over all ways."""

    @property
    def ok(self) -> bool:
        return not (self.lost or self.wrong or self.phantom or self.unknown)

    def __str__(self) -> str:
        counts = f"lost {len(self.lost)}, wrong {len(self.wrong)}, phantom {len(self.phantom)}"
        faults = [*self.lost, *self.wrong, *self.phantom, *self.unknown]
        state = "unknown: " if self.unknown else ""
        return f"{state}{counts}; {self.chunks} chunks right" + "".join(f"\n  {each}" for each in faults[:20])


class Checker:
    """A checker connected to the nodes at these addresses; use as a context manager."""

    def __init__(self, addresses: Sequence[str], port: int, keyspace: str) -> None:
        profile = ExecutionProfile(
            load_balancing_policy=RoundRobinPolicy(), retry_policy=FallthroughRetryPolicy(), request_timeout=30
        )
        self._cluster = Cluster(
            list(addresses), port=port, protocol_version=4, execution_profiles={EXEC_PROFILE_DEFAULT: profile}
        )
        self._addresses = list(addresses)
        self._keyspace = keyspace

    def __enter__(self) -> Checker:
        self._session = self._cluster.connect(self._keyspace)
        # The driver returns with one connection; until the others are open, a query to another node fails as if it were
        # down.
        futures.wait(self._session._initial_connect_futures, timeout=10)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._cluster.shutdown()

    def check(
        self, expected: Mapping[str, Expected], *, fired: bool, ways: Iterable[str] | None = None, prefix: str = ""
    ) -> Verdict:
        """Return the verdict on the expected datasets, and on any other dataset whose name begins with ``prefix``.

        ``fired``: whether the fault is known to have happened; without it the test proves nothing, so the verdict is
        not ok.
        """
        verdict = Verdict()
        if not fired:
            verdict.unknown.append("the fault never fired")
        for way in ways if ways is not None else [BOTH, *self._addresses]:
            reader = _Reader(self._session, self._cluster, way)
            for dataset, expectation in expected.items():
                _judge(reader, dataset, expectation, verdict)
            for name in reader.names():
                if name.startswith(prefix) and name not in expected and any(map(_is_visible, reader.versions(name))):
                    verdict.phantom.append(f"{way}: a dataset {name} that nobody loaded")
        return verdict


class _Reader:
    """One way of reading: from both nodes together or from one node alone."""

    def __init__(self, session: Any, cluster: Any, way: str) -> None:
        self._session = session
        self._hosts = {str(host.address): host for host in cluster.metadata.all_hosts()}
        self.way = way
        # 400 appends make 400 versions with 80,000 references to chunks and pages, of which only 401 each exist.
        self.page = lru_cache(_KEPT)(self._page)
        self._batches: dict[tuple[str, ...], pa.RecordBatch] = {}

    def rows(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        return self._ask(query, values, self._only(), ConsistencyLevel.TWO if self._only() is None else NODE_LOCAL)

    def _only(self) -> Any:
        return None if self.way == BOTH else self._hosts[self.way]

    def _ask(self, query: str, values: tuple[Any, ...], host: Any, level: int) -> list[Any]:
        statement = self._session.prepare(query).bind(values)
        statement.consistency_level = level
        return list(self._session.execute(statement, host=host))

    def names(self) -> list[str]:
        return [row.dataset for row in self.rows("SELECT dataset FROM datasets WHERE shard = ?", (0,))]

    def versions(self, dataset: str) -> list[Any]:
        return self.rows("SELECT * FROM versions WHERE dataset = ?", (dataset,))

    def tags(self, dataset: str) -> dict[str, str]:
        rows = self.rows("SELECT tag, number, hex, removed FROM tags WHERE dataset = ?", (dataset,))
        return {row.tag: f"{row.number}-{row.hex}" for row in rows if not row.removed}

    def batch(
        self, dataset: str, writer: str, chunk: Mapping[str, Any], schema: pa.Schema, layout: Any
    ) -> pa.RecordBatch:
        """Return the rows of a chunk, fetched and checked once for all versions that name the same checksums."""
        key = (dataset, writer, repr(chunk), str(schema), repr(layout))
        if key not in self._batches:
            made = _batch(self.tiles(dataset, writer, chunk), chunk, schema, layout)
            if len(self._batches) >= _KEPT:
                del self._batches[next(iter(self._batches))]
            self._batches[key] = made
        return self._batches[key]

    def _page(self, dataset: str, writer: str, page: int, checksum: str) -> bytes:
        query = "SELECT data FROM pages WHERE dataset = ? AND attempt_id = ? AND page = ?"
        rows = self.rows(query, (dataset, uuid.UUID(hex=writer), page))
        if not rows or rows[0].data is None:
            raise Missing(f"page {page} of {writer[:12]}")
        data = bytes(rows[0].data)
        if xxhash.xxh3_128_hexdigest(data) != checksum:
            raise Damaged(f"page {page} of {writer[:12]}")
        return data

    def tiles(self, dataset: str, writer: str, chunk: Mapping[str, Any]) -> list[bytes]:
        """Return the checked stored tiles; in the way of both nodes, from the first node with a correct replica."""
        query = "SELECT tile, data FROM chunks WHERE dataset = ? AND attempt_id = ? AND bucket = ? AND chunk = ?"
        place = (dataset, uuid.UUID(hex=writer), chunk["bucket"], chunk["chunk"])
        name = f"chunk {writer[:12]}/{chunk['bucket']}/{chunk['chunk']}"
        failure: Exception = Missing(name)
        for host in self._hosts.values() if self._only() is None else [self._only()]:
            try:
                rows = self._ask(query, place, host, NODE_LOCAL)
            except NoHostAvailable:
                continue
            try:
                return _checked({row.tile: row.data for row in rows}, chunk["tiles"], name)
            except Damaged as error:
                failure = error
            except Missing as error:
                failure = failure if isinstance(failure, Damaged) else error
        raise failure


def _checked(data_by_tile: Mapping[int, bytes], tiles: Sequence[Mapping[str, Any]], name: str) -> list[bytes]:
    stored = []
    for number, tile in enumerate(tiles):
        if number not in data_by_tile:
            raise Missing(f"tile {number} of {name}")
        data = bytes(data_by_tile[number])
        if len(data) != tile["stored_bytes"] or xxhash.xxh3_128_digest(data) != tile["stored_checksum"]:
            raise Damaged(f"tile {number} of {name}")
        stored.append(data)
    return stored


def _is_visible(row: Any) -> bool:
    return row.deleted_at is None or row.mark == "restored"


def _judge(reader: _Reader, dataset: str, expected: Expected, verdict: Verdict) -> None:
    where = f"{reader.way}: {dataset}"
    visible = {f"{row.number}-{row.hex}": row for row in reader.versions(dataset) if _is_visible(row)}
    if expected.versions and dataset not in reader.names():
        verdict.lost.append(f"{where}: its name")
    for label in expected.versions:
        if label not in visible:
            verdict.lost.append(f"{where}: version {label}")
    if expected.latest is not None and next(iter(visible), None) != expected.latest:
        verdict.wrong.append(f"{where}: the latest is {next(iter(visible), None)}, not {expected.latest}")
    if reader.tags(dataset) != dict(expected.tags):
        verdict.wrong.append(f"{where}: the tags are {reader.tags(dataset)}, not {dict(expected.tags)}")
    for label, row in visible.items():
        candidates = [expected.versions[label]] if label in expected.versions else list(expected.attempted)
        if not candidates:
            verdict.phantom.append(f"{where}: version {label} that nobody loaded")
            continue
        try:
            table = _table(reader, dataset, row, verdict)
        except Missing as error:
            verdict.lost.append(f"{where}@{label}: {error}")
        except (Damaged, zlib.error, OSError, EOFError, pa.ArrowException, ValueError) as error:
            verdict.wrong.append(f"{where}@{label}: {error}")
        else:
            _compare(f"{where}@{label}", table, candidates, verdict)


def _compare(where: str, table: pa.Table, candidates: Sequence[pa.Table], verdict: Verdict) -> None:
    if any(table.equals(candidate) for candidate in candidates):
        return
    most = max(candidate.num_rows for candidate in candidates)
    if table.num_rows > most:
        verdict.phantom.append(f"{where}: {table.num_rows} rows instead of {most}")
    elif table.num_rows < most:
        verdict.lost.append(f"{where}: {table.num_rows} rows instead of {most}")
    else:
        verdict.wrong.append(f"{where}: other rows than those that were loaded")


def _table(reader: _Reader, dataset: str, row: Any, verdict: Verdict) -> pa.Table:
    _check_row(dataset, row)
    _check_files(reader, dataset, row)
    schema = pa.ipc.read_schema(pa.py_buffer(_blob(reader, dataset, row.arrow_schema)))
    settings = json.loads(row.settings)
    layout, format_number = settings["layout"], settings.get("format", 1)
    if format_number > 2:
        raise ValueError(f"the format {format_number} is not known")
    batches = []
    for writer, page, checksum in _page_places(reader, dataset, json.loads(_blob(reader, dataset, row.pages))):
        for chunk in _chunks(reader.page(dataset, writer, page, checksum)):
            if len(chunk["tiles"]) > len(layout) or (len(chunk["tiles"]) < len(layout) and format_number < 2):
                raise Damaged("the number of tiles of a chunk")
            batches.append(reader.batch(dataset, writer, chunk, schema, layout))
            verdict.chunks += 1
    return pa.Table.from_batches(batches, schema=schema)


def _check_row(dataset: str, row: Any) -> None:
    sums = [row.rows, row.raw_bytes, row.stored_bytes, row.chunks, row.page_count]
    facts = [
        dataset, f"{row.number}-{row.hex}", row.parent, row.mode, row.kind,
        row.attempt_id and row.attempt_id.hex, row.attempts,
        row.run, row.code, sums, json.loads(row.source or "null"), json.loads(row.settings or "null"),
        row.committed_at and round((row.committed_at - _EPOCH).total_seconds() * 1000),
        (row.arrow_schema or b"").hex(), (row.pages or b"").hex(), *([] if row.files is None else [row.files.hex()]),
    ]  # fmt: skip
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    if xxhash.xxh3_128_digest(text.encode()) != row.checksum:
        raise Damaged("the version's row")


def _check_files(reader: _Reader, dataset: str, row: Any) -> None:
    """Read the list of loaded files, which only an incremental load needs."""
    number = json.loads(row.settings).get("format", 1)
    if number not in (1, 2):
        raise Damaged(f"the format number {number}")
    if row.files is None:
        return
    for writer, page, count, checksum in json.loads(_blob(reader, dataset, row.files))["lists"]:
        batch = pa.ipc.open_stream(gzip.decompress(reader.page(dataset, writer, page, checksum))).read_next_batch()
        if batch.num_rows != count:
            raise Damaged(f"a list of {batch.num_rows} files instead of {count}")


def _blob(reader: _Reader, dataset: str, value: bytes) -> bytes:
    if value[:1] == b"{":
        where = json.loads(value)
        value = reader.page(dataset, where["attempt_id"], where["page"], where["checksum"])
    return gzip.decompress(value)


def _page_places(reader: _Reader, dataset: str, listing: Any) -> Iterator[tuple[str, int, str]]:
    """Yield writer, number and checksum of every page, from the row or from the lists that it names."""
    if isinstance(listing, list):
        yield from ((writer, page, checksum) for writer, page, _, _, _, _, checksum, _ in listing)
        return
    for writer, page, count, checksum in listing["lists"]:
        data = reader.page(dataset, writer, page, checksum)
        batch = pa.ipc.open_stream(gzip.decompress(data)).read_next_batch()
        if batch.num_rows != count:
            raise Damaged(f"a list of {batch.num_rows} pages instead of {count}")
        for named in batch.select(["attempt_id", "page", "checksum"]).to_pylist():
            yield named["attempt_id"].hex(), named["page"], named["checksum"].hex()


def _chunks(page: bytes) -> Iterator[dict[str, Any]]:
    batch = pa.ipc.open_stream(gzip.decompress(page)).read_next_batch()
    yield from batch.drop_columns(["stats"]).to_pylist()


def _batch(stored: Sequence[bytes], chunk: Mapping[str, Any], schema: pa.Schema, layout: Any) -> pa.RecordBatch:
    columns: list[pa.Array] = []
    for data, tile, (first, count) in zip(stored, chunk["tiles"], layout[: len(stored)], strict=True):
        raw = gzip.decompress(data) if tile["codec"] == "gzip" else data
        ending = zlib.crc32(raw).to_bytes(4, "little") + (len(raw) & 0xFFFFFFFF).to_bytes(4, "little")
        if ending != tile["raw_checksum"]:
            raise Damaged("the bytes within a tile")
        batch = pa.ipc.open_stream(raw).read_next_batch()
        columns += [_column(batch.column(i), schema.field(first + i).type) for i in range(count)]
    # A chunk that is older than a column has no tile of it.
    columns += [pa.nulls(chunk["rows"], field.type) for field in list(schema)[len(columns) :]]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _column(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if array.type == kind:
        return array
    if pa.types.is_struct(array.type) and not pa.types.is_struct(kind):
        array = _numbers(array)
    return pa.nulls(len(array), kind) if pa.types.is_null(array.type) else array.cast(kind)


def _numbers(array: pa.StructArray) -> pa.Array:
    """Decode doubles stored as integers with a divisor, or integers stored as bytes, lowest byte first."""
    first, *rest = array.type
    added, scaled, divisor = first.name.rpartition("divide_by_")
    if scaled:
        whole = pc.add(_column(array.field(0), pa.int64()), int(added.strip("plus_") or 0))
        total = pc.divide(whole.cast(pa.float64()), float(divisor))
        for number, marked in enumerate(rest, 1):
            total = pc.if_else(array.field(number), -0.0 if marked.name == "minus_zero" else float("nan"), total)
    else:
        total = pa.repeat(0, len(array)).cast(pa.int64())
        for number in range(array.type.num_fields):
            total = pc.add(total, pc.multiply(array.field(number).cast(pa.int64()), 256**number))
    return pc.if_else(array.is_valid(), total, None)
