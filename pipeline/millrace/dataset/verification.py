"""Read every chunk again and verify its checksums, from any replica that responds or from each replica alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from millrace.errors import ChunkError, ChunkMissingError, MillraceError, StoreError
from millrace.progress import ProgressTask
from millrace.store import ChunkReader, ChunkRef, MissingReplica, ReplicaCheck, Version, repairable

__all__ = ["VerifyReport", "verify_chunks"]

_THREADS = 4
_AHEAD = 8
_PROBLEMS_SHOWN = 100


@dataclass(slots=True)
class VerifyReport:
    """Result of a verification; ``problems`` holds the first 100, ``bad`` counts all."""

    reference: str
    chunks: int = 0
    rows: int = 0
    copies: int = 0
    stored_bytes: int = 0
    bad: int = 0
    each_replica: bool = False
    recorded: list[tuple[str, int]] = field(default_factory=list)
    """Attempt and bucket of data that is incomplete on a node; recorded so that ``repair`` completes it."""
    problems: list[dict[str, Any]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every copy that was read is present and as it was written."""
        return self.bad == 0

    @property
    def words(self) -> str:
        """The result as one line of text."""
        if not self.ok:
            return f"{self.bad:,} of {self.copies:,} copies are wrong or missing"
        return f"{self.rows:,} rows in {self.chunks:,} chunks verified"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON: every field, and ``ok``."""
        return {**asdict(self), "ok": self.ok}

    def audit(self, auditor: ReplicaCheck, version: Version) -> None:
        """Add pages and rows that a node lacks or holds damaged.

        A node that is down is a problem, too.
        """
        try:
            lacks = [*auditor.rows(version.dataset, version), *auditor.pages(version)]
            for lack in lacks:
                self._lacks(lack)
            for place in ((lack.attempt_id.hex, lack.bucket) for lack in repairable(lacks)):
                if place not in self.recorded:
                    self.recorded.append(place)
        except StoreError as error:
            self._blame(error)

    def _lacks(self, lack: MissingReplica) -> None:
        said = f"{lack.data} of {lack.dataset}@{lack.version} is missing or damaged on {lack.node}"
        hint = f"millrace repair {lack.dataset} brings it there"
        self._blame(ChunkMissingError(said, hint=hint, dataset=lack.dataset, node=lack.node, bucket=lack.bucket))

    def _blame(self, error: MillraceError) -> None:
        self.bad += 1
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
    waiting: deque[tuple[ChunkRef, Future[list[MillraceError]]]] = deque()
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="millrace-verify") as pool:
        try:
            for ref in refs:
                while len(waiting) >= _AHEAD:
                    _collect(report, *waiting.popleft(), task=task)
                waiting.append((ref, pool.submit(_check, reader, ref, each_replica)))
            while waiting:
                _collect(report, *waiting.popleft(), task=task)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return report


def _collect(report: VerifyReport, ref: ChunkRef, future: Future[list[MillraceError]], *, task: ProgressTask) -> None:
    problems = future.result()
    report.chunks += 1
    report.rows += ref.rows
    report.stored_bytes += ref.stored_bytes
    report.copies += 2 if report.each_replica else 1
    for problem in problems:
        report._blame(problem)
    place = (ref.attempt_id.hex, ref.bucket)
    # An unresponsive node is no evidence of a missing or damaged copy.
    bad = any(isinstance(problem, (ChunkError, ChunkMissingError)) for problem in problems)
    if bad and report.each_replica and place not in report.recorded:
        report.recorded.append(place)
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
