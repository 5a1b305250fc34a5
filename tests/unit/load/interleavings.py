"""Model of concurrent loads: the real protocol on a catalogue in memory, in every order of its steps.

A process is a function that reads and writes only through ``Port``. Each read or write is one step. A process is run
again from its beginning with the recorded replies, until it asks for a step that it has not made yet. Two orders of
steps that lead to the same catalogue and the same replies are one state, so all orders can be visited.

A process that never makes its next step has crashed. So every state that is reached is also one in which all
unfinished processes have crashed: ``check`` lets ``repair`` merge there, and compares the rows with those of every
order in which the loads could have run one after the other.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import combinations, permutations
from typing import Any, NamedTuple, cast
from uuid import UUID

from millrace.errors import StoreError, VersionNotFoundError
from millrace.load import LoadPlan
from millrace.load.checks import published_before
from millrace.load.incremental_protocol import Candidate, Stage, confirm, superseded
from millrace.load.merge import union_of_added
from millrace.load.publish_protocol import Published, merge_heads, publish_with_retry
from millrace.load.version_row import root_of
from millrace.store import DELETED, WITHDRAWN, PageRef, Version, VersionGraph

NOW = datetime(2026, 11, 29, tzinfo=UTC)
NONE = cast("Any", None)
ROUNDS = 3
"""Rounds of publishing, fewer than in a real load, so that two loads that supersede each other have few states."""


@dataclass(frozen=True)
class Row:
    """The row of a version and its pages. Each page stands for the rows of one file.

    ``stage`` is in the row of the publisher of an incremental version.
    """

    version: Version
    pages: tuple[PageRef, ...]
    stage: Stage = Stage.CONFIRMED

    @property
    def key(self) -> tuple[Any, ...]:
        v = self.version
        return (
            v.label,
            v.parent,
            v.merged,
            v.root,
            v.mark,
            self.stage.value,
            tuple((page.attempt_id, page.added_by) for page in self.pages),
        )


class Catalogue:
    """All version rows. Immutable: ``put`` and ``mark`` return another catalogue."""

    def __init__(self, rows: dict[str, Row], graph_class: type[VersionGraph]) -> None:
        self.rows = rows
        self.key = tuple(sorted(row.key for row in rows.values()))
        self.graph = graph_class(row.version for row in rows.values())

    def put(self, row: Row) -> Catalogue:
        """Write a row; a mark that its label has already stays."""
        before = self.rows.get(row.version.label)
        if before is not None:
            version = replace(row.version, deleted_at=before.version.deleted_at, mark=before.version.mark)
            row = replace(row, version=version)
        return Catalogue({**self.rows, row.version.label: row}, type(self.graph))

    def mark(self, label: str, mark: str) -> Catalogue:
        """Mark a version as deleted or withdrawn; a withdrawal stays."""
        row = self.rows[label]
        if row.version.mark == WITHDRAWN:
            return self
        marked = replace(row, version=replace(row.version, deleted_at=NOW, mark=mark))
        return Catalogue({**self.rows, label: marked}, type(self.graph))

    def with_stage(self, label: str, stage: Stage) -> Catalogue:
        """Set the stage of a version."""
        return Catalogue({**self.rows, label: replace(self.rows[label], stage=stage)}, type(self.graph))

    def killed(self) -> Catalogue:
        """Return the catalogue long after all loads were killed."""
        catalogue = self
        for label, row in self.rows.items():
            if row.stage is Stage.WRITTEN:
                catalogue = catalogue.with_stage(label, Stage.ABANDONED)
        return catalogue


class Load(NamedTuple):
    """A load or a deletion. ``mode`` is ``append``, ``incremental``, ``replace`` or ``delete``.

    ``hex`` orders versions of one number, and is the row that the load adds if ``files`` is empty.
    """

    hex: str
    mode: str
    target: str = ""
    """Label of the version that a deletion deletes."""
    files: tuple[int, ...] = ()
    """The files of the source. Each is one row."""

    @property
    def rows(self) -> tuple[int, ...]:
        """The rows of the source."""
        return self.files or ((int(self.hex, 16),) if self.hex else ())


class Reply(NamedTuple):
    """Reply to a step: its value, and a key that is equal for equal values."""

    value: Any
    key: Any


Step = Callable[[Catalogue], tuple[Catalogue, Reply]]


class NextStep(BaseException):
    """Raised by the port when a process asks for a step that it has not made yet."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.step = step


class Port:
    """Steps of ``publish_with_retry``, ``confirm`` and ``merge_heads`` on the catalogue in memory.

    ``new`` are the rows that the plan of the load has.
    """

    def __init__(self, load: Load, replies: Sequence[Reply]) -> None:
        self._load = load
        self._replies = iter(replies)
        self.new = load.rows

    def _make(self, step: Step) -> Any:
        for reply in self._replies:
            return reply.value
        raise NextStep(step)

    def graph(self) -> VersionGraph:
        graph: VersionGraph = self._make(lambda catalogue: (catalogue, Reply(catalogue.graph, catalogue.key)))
        return graph

    def check_append(self, parent: str) -> None:
        """Refuse an incremental load; every other append fits."""
        if self._load.mode == "incremental":
            raise superseded("d", self._load.hex, parent)

    def check_others(self, others: VersionGraph) -> None:
        """Do nothing: these loads do not exclude each other."""

    def candidates(self, versions: Sequence[Version], graph: VersionGraph) -> list[Candidate]:
        """Read the stages and files of all versions in one step."""

        def read(catalogue: Catalogue) -> tuple[Catalogue, Reply]:
            rows = [catalogue.rows[version.label] for version in versions]
            return catalogue, Reply(rows, tuple(row.key for row in rows))

        by_hand = {_load_key(v.label) for v in graph.versions if v.mode != "incremental"}
        rows: list[Row] = self._make(read)
        return [
            Candidate(version, row.stage, _adders_of(row), by_hand) for version, row in zip(versions, rows, strict=True)
        ]

    def begin_again(self, version: Version) -> None:
        self._set_stage(version, Stage.WRITTEN)

    def confirm(self, version: Version) -> None:
        self._set_stage(version, Stage.CONFIRMED)

    def _set_stage(self, version: Version, stage: Stage) -> None:
        self._make(lambda catalogue: (catalogue.with_stage(version.label, stage), Reply(None, None)))

    def plan_files(self, latest: Version | None) -> None:
        """Leave out the rows that the latest version has, as an incremental plan does."""
        if latest is not None and self._load.mode == "incremental":
            # The list was read with the version. A version deleted since then is still readable.
            row: Row = self._make(lambda catalogue: (catalogue, _row_reply(catalogue, latest.label)))
            self.new = tuple(file for file in self.new if file not in _files_of(row))

    def withdraw(self, version: Version) -> None:
        self.mark(version.label, WITHDRAWN)

    def mark(self, label: str, mark: str) -> None:
        self._make(lambda catalogue: (catalogue.mark(label, mark), Reply(None, None)))

    def write(self, plan: LoadPlan) -> Published:
        parent = None if plan.parent is None else self._resolve(plan.parent)
        own = [PageRef(UUID(int=row), 0, 1, 1, 1, 1, b"", plan.label) for row in self.new]
        pages = parent.pages if parent is not None and plan.appends else ()
        root = root_of(plan, parent.version if parent else None)
        version = _version(plan.number, plan.hex, plan.parent, plan.mode, plan.run, root)
        self._put(Row(version, (*pages, *own), Stage.WRITTEN if plan.mode == "incremental" else Stage.CONFIRMED))
        return Published(plan, version, 2)

    def merge(self, siblings: Sequence[Version], graph: VersionGraph) -> Version | None:
        number, hexpart, existing = graph.merge_name(siblings)
        if existing is not None:
            return existing
        rows = [self._visible(sibling.label) for sibling in siblings]
        if None in rows:
            return None
        runs = {version.label: version.run for version in graph.versions}
        pages = union_of_added([row.pages for row in rows if row is not None], runs)
        labels = tuple(sibling.label for sibling in siblings)
        version = _version(number, hexpart, labels[-1], "merge", "merge", siblings[0].root, labels)
        self._put(Row(version, tuple(pages)))
        return version

    def _put(self, row: Row) -> None:
        self._make(lambda catalogue: (catalogue.put(row), Reply(None, None)))

    def _visible(self, label: str) -> Row | None:
        def read(catalogue: Catalogue) -> tuple[Catalogue, Reply]:
            row: Row | None = catalogue.rows[label]
            if row is not None and row.version.deleted_at is not None:
                row = None
            return catalogue, Reply(row, row and row.key)

        row: Row | None = self._make(read)
        return row

    def _resolve(self, label: str) -> Row:
        row = self._visible(label)
        if row is None:
            raise VersionNotFoundError(f"{label} is deleted", hint="")
        return row


def _row_reply(catalogue: Catalogue, label: str) -> Reply:
    return Reply(catalogue.rows[label], catalogue.rows[label].key)


def _files_of(row: Row) -> set[int]:
    return {page.attempt_id.int for page in row.pages}


def _load_key(label: str) -> tuple[str, str]:
    return label.partition("-")[2], ""


def _adders_of(row: Row) -> dict[str, set[tuple[str, str]]]:
    files: dict[str, set[tuple[str, str]]] = {}
    for page in row.pages:
        files.setdefault(str(page.attempt_id.int), set()).add(_load_key(page.added_by))
    return files


class _NoAttempts:
    """The catalogue that ``published_before`` asks why a version is not visible."""

    def attempts(self, _dataset: str) -> list[Any]:
        return []


def _version(
    number: int, hexpart: str, parent: str | None, mode: str, run: str, root: str, merged: tuple[str, ...] = ()
) -> Version:
    return Version(
        "d", number, hexpart, parent, mode, "table", UUID(int=0), 1, run, "", 1, 1, 1, 1, 1,
        {"merged": list(merged)} if merged else {}, {"root": root}, NOW,
    )  # fmt: skip


def run_load(load: Load, port: Port, begun: int) -> int:
    """Plan and publish like ``Store.load``, or delete; return the number that the plan has.

    ``begun`` is the number that an earlier attempt of this load has planned, or 0.
    """
    graph = port.graph()
    if load.mode == "delete":
        port.mark(load.target, DELETED)
        return 0
    run = f"run {load.hex}"
    for hexpart in {version.hex for version in graph.visible if version.run == run}:
        if (published := graph.published(hexpart, run)) is not None:
            _confirm(port, published[1], hexpart)
            return begun
    number = max(begun, graph.next_number)
    parent = graph.latest.label if graph.latest is not None else None
    port.plan_files(graph.latest)
    if not port.new:
        return number
    plan = LoadPlan("d", load.mode, run, number, _hex_of(load, port.new), parent, "", NONE, NONE, NONE)
    graph = port.graph()
    version = published_before(cast("Any", _NoAttempts()), plan, graph)
    if version is None:
        version = publish_with_retry(port, plan, graph, rounds=ROUNDS).version
    _confirm(port, version, plan.hex)
    if plan.appends:
        merge_heads(port, version, siblings_max=256)
    return number


def _confirm(port: Port, holder: Version, hexpart: str) -> None:
    if holder.mode == "incremental" and holder.hex == hexpart:
        confirm(port, holder, rounds=ROUNDS, sleep=lambda _: None)


def _hex_of(load: Load, new: tuple[int, ...]) -> str:
    """Return the hex of a plan, which depends on the files that it has."""
    if new == load.rows:
        return load.hex
    return f"{load.hex[:-1]}{sum(1 << position for position, row in enumerate(load.rows) if row in new):x}"


@dataclass(frozen=True)
class Process:
    """A load as far as it has run. ``after`` are the loads that were acknowledged before it began."""

    load: Load
    replies: tuple[Reply, ...] = ()
    state: str = "running"
    after: frozenset[str] = field(default=frozenset())
    begun: int = 0
    """Number that the attempt before has planned."""
    retries: int = 0

    @property
    def key(self) -> tuple[Any, ...]:
        return self.load, tuple(reply.key for reply in self.replies), self.state, self.after, self.begun, self.retries


State = tuple[Catalogue, tuple[Process, ...]]


class Model:
    """Processes that start on ``catalogue``. Each may crash anywhere and then run again up to ``retries`` times."""

    def __init__(self, catalogue: Catalogue, loads: Sequence[Load], *, retries: int = 0) -> None:
        self._start: State = (catalogue, tuple(Process(load, retries=retries) for load in loads))
        self._seed = [(v.label, _rows(catalogue, v)) for v in reversed(catalogue.graph.visible)]
        self._next: dict[Any, Step | str] = {}
        self._repaired: dict[Any, tuple[tuple[int, ...] | None, int]] = {}
        self._serial: dict[Any, set[tuple[int, ...] | None]] = {}

    def check_all(self) -> int:
        """Visit every state and check it; return their number. Raises ``AssertionError`` for a lost or doubled row."""
        waiting, seen = [self._start], {self._key(self._start)}
        while waiting:
            state = waiting.pop()
            self.check(state)
            for _, following in self.successors(state):
                key = self._key(following)
                if key not in seen:
                    seen.add(key)
                    waiting.append(following)
        return len(seen)

    def check_random(self, orders: int) -> int:
        """Check every state of this many random orders; return their number of steps together."""
        steps = 0
        for seed in range(orders):
            choose, state = random.Random(seed), self._start
            while following := [after for _, after in self.successors(state)]:
                state = choose.choice(following)
                self.check(state)
                steps += 1
        return steps

    def check_order(self, order: Iterable[int]) -> None:
        """Check every state of one order: the index of the process that makes each step. Finished ones are skipped."""
        state = self._start
        for index in order:
            state = next((following for process, following in self.successors(state) if process == index), state)
            self.check(state)

    def successors(self, state: State) -> Iterator[tuple[int, State]]:
        """Yield each state that one step of one process leads to, or its crash and restart."""
        catalogue, processes = state
        acknowledged = frozenset(process.load.hex for process in processes if process.state == "acknowledged")
        for index, process in enumerate(processes):
            if process.state != "running":
                continue
            if not process.replies and not process.begun:
                process = replace(process, after=process.after | acknowledged)
            step = self._step(process)
            if isinstance(step, str):
                yield index, (catalogue, _with(processes, index, replace(process, state=step)))
                continue
            changed, reply = step(catalogue)
            yield index, (changed, _with(processes, index, replace(process, replies=(*process.replies, reply))))
            if process.replies and process.retries:
                begun = max(process.begun, process.replies[0].value.next_number)
                again = replace(process, replies=(), begun=begun, retries=process.retries - 1)
                yield index, (catalogue, _with(processes, index, again))

    def check(self, state: State) -> None:
        """Raise ``AssertionError`` unless the rows after a repair are those of loads that ran one after the other."""
        catalogue, processes = state
        rows, heads = self._after_repair(catalogue)
        assert heads <= 1, f"{heads} heads after a repair of {catalogue.key}"
        allowed = self._allowed(processes)
        assert rows in allowed, f"the rows are {rows} in {catalogue.key}, allowed: {sorted(allowed, key=str)}"

    def _step(self, process: Process) -> Step | str:
        """Return the next step of a process, or the state in which it ends."""
        key = (process.load, process.begun, tuple(reply.key for reply in process.replies))
        if key not in self._next:
            try:
                run_load(process.load, Port(process.load, process.replies), process.begun)
                self._next[key] = "acknowledged"
            except NextStep as paused:
                self._next[key] = paused.step
            except StoreError:
                self._next[key] = "failed"
        return self._next[key]

    def _after_repair(self, catalogue: Catalogue) -> tuple[tuple[int, ...] | None, int]:
        """Return the rows of the latest version after ``repair`` has merged, and the number of heads of its line."""
        key = catalogue.key
        if key not in self._repaired:
            catalogue = catalogue.killed()
            replies: list[Reply] = []
            started = catalogue.graph.latest
            while started is not None and started.mode != "replace":
                try:
                    merge_heads(Port(Load("", "merge"), replies), started, siblings_max=256)
                    break
                except NextStep as paused:
                    catalogue, reply = paused.step(catalogue)
                    replies.append(reply)
            latest = catalogue.graph.latest
            heads = 0 if latest is None or latest.mode == "replace" else len(catalogue.graph.heads(latest.root))
            self._repaired[key] = (None if latest is None else _rows(catalogue, latest), heads)
        return self._repaired[key]

    def _allowed(self, processes: tuple[Process, ...]) -> set[tuple[int, ...] | None]:
        """Return the rows of the latest version for every order of the acknowledged loads and any of the others."""
        key = tuple((process.load, process.state, process.after, bool(process.replies)) for process in processes)
        if key not in self._serial:
            acknowledged = [process for process in processes if process.state == "acknowledged"]
            others = [process for process in processes if process.state != "acknowledged"]
            self._serial[key] = {
                self._run_in_order(order)
                for size in range(len(others) + 1)
                for some in combinations(others, size)
                for order in permutations([*acknowledged, *some])
                if all(
                    later.load.hex not in earlier.after
                    for position, earlier in enumerate(order)
                    for later in order[position + 1 :]
                )
            }
        return self._serial[key]

    def _run_in_order(self, order: Sequence[Process]) -> tuple[int, ...] | None:
        versions = list(self._seed)
        for load in (process.load for process in order):
            before = versions[-1][1] if versions else ()
            if load.mode == "delete":
                versions = [(label, rows) for label, rows in versions if label != load.target]
            elif load.mode == "append":
                versions.append((load.hex, tuple(sorted((*before, *load.rows)))))
            elif load.mode == "incremental":
                versions.append((load.hex, tuple(sorted((*before, *(set(load.rows) - set(before)))))))
            else:
                versions.append((load.hex, load.rows))
        return versions[-1][1] if versions else None

    def _key(self, state: State) -> tuple[Any, ...]:
        return state[0].key, tuple(process.key for process in state[1])


def _with(processes: tuple[Process, ...], index: int, process: Process) -> tuple[Process, ...]:
    return (*processes[:index], process, *processes[index + 1 :])


def _rows(catalogue: Catalogue, version: Version) -> tuple[int, ...]:
    """Return the rows of a version. A row that is there twice is listed twice."""
    return tuple(sorted(page.attempt_id.int for page in catalogue.rows[version.label].pages))


def seeded(graph_class: type[VersionGraph] = VersionGraph, *, appended: bool = False) -> Catalogue:
    """Return a catalogue with a version 1 of row 1; with ``appended`` also a version 2 of rows 1 and 2."""
    page = PageRef(UUID(int=1), 0, 1, 1, 1, 1, b"", "1-000001")
    first = Row(_version(1, "000001", None, "replace", "seed", "1-000001"), (page,))
    catalogue = Catalogue({"1-000001": first}, graph_class)
    if not appended:
        return catalogue
    second = _version(2, "000002", "1-000001", "append", "seed 2", "1-000001")
    own = PageRef(UUID(int=2), 0, 1, 1, 1, 1, b"", "2-000002")
    return catalogue.put(Row(second, (page, own)))
