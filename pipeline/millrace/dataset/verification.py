"""Read every chunk again and verify its checksums: from one replica that responds, or from each replica separately."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any

from millrace.errors import ChunkError, ChunkMissingError, MillraceError, StoreError
from millrace.parallel import in_order
from millrace.progress import ProgressTask
from millrace.store import ChunkReader, ChunkRef, ReplicaCheck, Version, repairable

_THREADS = 4
_AHEAD = 8
_PROBLEMS_SHOWN = 100


@dataclass(slots=True)
class VerifyReport:
    """Result of a verification; ``problems`` holds the first 100, ``bad_copies`` counts all."""

    reference: str
    chunks: int = 0
    rows: int = 0
    copies: int = 0
    stored_bytes: int = 0
    bad_copies: int = 0
    each_replica: bool = False
    recorded: list[tuple[str, int]] = field(default_factory=list)
    """Attempt and bucket of data that is incomplete on a node; recorded so that ``repair`` completes it."""
    problems: list[dict[str, Any]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Return whether every copy that was read is present and undamaged."""
        return self.bad_copies == 0

    @property
    def summary(self) -> str:
        """Return the result as one line of text."""
        if not self.ok:
            return f"{self.bad_copies:,} of {self.copies:,} copies are wrong or missing"
        return f"{self.rows:,} rows in {self.chunks:,} chunks verified"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON: every field, and ``ok``."""
        return {**asdict(self), "ok": self.ok}

    def add_missing_replicas(self, check: ReplicaCheck, version: Version) -> None:
        """Add pages and rows that a node lacks or holds damaged.

        A node that is down is a problem, too.
        """
        try:
            missing_replicas = [*check.missing_rows(version.dataset, version), *check.missing_pages(version)]
        except StoreError as error:
            self.add_problem(error)
            return
        for missing in missing_replicas:
            message = f"{missing.data} of {missing.dataset}@{missing.version} is missing or damaged on {missing.node}"
            hint = f"millrace repair {missing.dataset} copies it to that node"
            context = {"dataset": missing.dataset, "node": missing.node, "bucket": missing.bucket}
            self.add_problem(ChunkMissingError(message, hint=hint, **context))
        for missing in repairable(missing_replicas):
            self.record(missing.attempt_id.hex, missing.bucket)

    def record(self, attempt: str, bucket: int) -> None:
        """Add a bucket of an attempt to those that ``repair`` completes, once."""
        if (attempt, bucket) not in self.recorded:
            self.recorded.append((attempt, bucket))

    def add_problem(self, error: MillraceError) -> None:
        """Count a bad copy, and keep its error if it is one of the first 100."""
        self.bad_copies += 1
        if len(self.problems) < _PROBLEMS_SHOWN:
            context = {key: str(value) for key, value in error.context.items()}
            self.problems.append({"error": type(error).__name__, "message": str(error), **context})


def verify_chunks(
    reader: ChunkReader,
    refs: Iterable[ChunkRef],
    report: VerifyReport,
    *,
    task: ProgressTask,
    each_replica: bool = False,
) -> VerifyReport:
    """Verify stored and raw checksums of every tile of every chunk; add bad chunks to the report's problems.

    With ``each_replica`` every chunk is read from each of its nodes alone (``NODE_LOCAL``). A copy that is missing or
    damaged on one node is then found although the other one is good. A bad chunk raises no exception.
    """
    report.each_replica = each_replica

    def check(ref: ChunkRef) -> list[MillraceError]:
        return _check(reader, ref, each_replica)

    with closing(in_order(check, refs, threads=_THREADS, name="millrace-verify", items_max=_AHEAD)) as checks:
        for ref, problems in checks:
            _collect(report, ref, problems.result(), task=task)
    return report


def _collect(report: VerifyReport, ref: ChunkRef, problems: list[MillraceError], *, task: ProgressTask) -> None:
    report.chunks += 1
    report.rows += ref.rows
    report.stored_bytes += ref.stored_bytes
    report.copies += 2 if report.each_replica else 1
    for problem in problems:
        report.add_problem(problem)
    # An unresponsive node does not prove that a copy is missing or damaged.
    is_bad = any(isinstance(problem, (ChunkError, ChunkMissingError)) for problem in problems)
    if is_bad and report.each_replica:
        report.record(ref.attempt_id.hex, ref.bucket)
    task.advance(ref.rows)
    task.count(chunks=1, bytes_stored=ref.stored_bytes, bytes_raw=ref.raw_bytes)


def _check(reader: ChunkReader, ref: ChunkRef, each_replica: bool) -> list[MillraceError]:
    problems: list[MillraceError] = []
    hosts: list[Any] = list(reader.replicas(ref)) if each_replica else [None]
    for host in hosts:
        try:
            stored = reader.fetch(ref) if host is None else reader.fetch_from(host, ref)
            for index, (tile, data) in enumerate(zip(ref.tiles, stored, strict=True)):
                where = {"dataset": ref.dataset, "chunk": str(ref), "tile": index, "node": str(host or "any")}
                tile.decode(data, where)
        except (ChunkError, StoreError) as error:
            problems.append(error)
    return problems
