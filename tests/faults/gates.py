"""Gates that hold a load before one of its writes, so that a test can inject a fault at that point."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from itertools import pairwise
from typing import Any

from millrace.store.cluster.writer import ReplicatedWriter, Write

PATIENCE_S = 240.0


class Gate:
    """A gate that holds one load before its ``number``-th write of a kind (``chunk``, ``page``, ``version``, ...)."""

    def __init__(self, dataset: str, kind: str, number: int = 1, passes: int = 0) -> None:
        self.dataset, self.kind, self.number = dataset, kind, number
        self.passes = passes
        """Number of writers of the dataset that pass before one is held: 1 holds the second loader."""
        self.reached = threading.Event()
        self._opened = threading.Event()
        self._counts: defaultdict[int, int] = defaultdict(int)

    def wait(self) -> Gate:
        """Return when the load has reached the gate."""
        assert self.reached.wait(PATIENCE_S), f"{self.dataset} never came to {self.kind} {self.number}"
        return self

    def open(self) -> None:
        """Let the load continue."""
        self._opened.set()

    def hold(self, writer: int) -> None:
        """Wait here if this write is the wanted one; called with each matching write by the load's own thread."""
        self._counts[writer] += 1
        if self._counts[writer] != self.number or self.reached.is_set():
            return
        if self.passes:
            self.passes -= 1
            return
        self.reached.set()
        assert self._opened.wait(PATIENCE_S), f"nobody opened the gate of {self.dataset}"


class Gates:
    """Gates on the writes of this process, and records of them; a context manager that opens all gates at its end."""

    def __init__(self) -> None:
        self._gates: list[Gate] = []
        self.acknowledged: defaultdict[str, list[float]] = defaultdict(list)
        """By dataset: the times at which its chunks were acknowledged, in seconds of the monotonic clock."""
        self.chunks: defaultdict[str, dict[str, int]] = defaultdict(dict)
        """By dataset: the reference of each chunk, and the number of replicas that acknowledged it."""
        self.degraded: defaultdict[str, int] = defaultdict(int)
        """By dataset: writes of any kind that only one replica acknowledged."""

    def gate(self, dataset: str, kind: str, number: int = 1, *, passes: int = 0) -> Gate:
        self._gates.append(Gate(dataset, kind, number, passes))
        return self._gates[-1]

    def proven(self, dataset: str) -> int:
        """Return the number of chunks that both nodes have acknowledged."""
        return list(self.chunks[dataset].values()).count(2)

    def single(self, dataset: str) -> int:
        """Return the number of chunks that only one node has acknowledged."""
        return list(self.chunks[dataset].values()).count(1)

    def longest_pause_s(self, dataset: str) -> float:
        times = self.acknowledged[dataset]
        return max((b - a for a, b in pairwise(times)), default=0.0)

    def __enter__(self) -> Gates:
        self._submit = ReplicatedWriter.submit
        gates = self

        def submit(writer: ReplicatedWriter, write: Write) -> Any:
            return gates._watched(writer, write)

        ReplicatedWriter.submit = submit  # type: ignore[method-assign, assignment]
        return self

    def __exit__(self, *_exc: object) -> None:
        ReplicatedWriter.submit = self._submit  # type: ignore[method-assign]
        for gate in self._gates:
            gate.open()

    def _watched(self, writer: ReplicatedWriter, write: Write) -> Any:
        kind, dataset = _what(write.description)
        for gate in self._gates:
            if (gate.dataset, gate.kind) == (dataset, kind):
                gate.hold(id(writer))
        future = self._submit(writer, write)
        future.add_done_callback(lambda done: self._done(kind, dataset, write.description, done))
        return future

    def _done(self, kind: str, dataset: str, what: str, done: Any) -> None:
        if done.exception() is not None:
            return
        if kind == "chunk":
            self.acknowledged[dataset].append(time.monotonic())
            self.chunks[dataset][what.removeprefix("chunk ")] = done.result().replicas
        if kind not in ("report", "run"):  # a report is not data of the dataset
            self.degraded[dataset] += done.result().replicas < 2


def _what(text: str) -> tuple[str, str]:
    """Return kind and dataset of a write, from its description."""
    words = text.removeprefix("the ").split()
    kind = {"attempt's": "attempt"}.get(words[0], words[0])
    places = {
        "chunk": 1,
        "name": 1,
        "version": 1,
        "tag": 1,
        "page": 3,
        "attempt": 3,
        "record": 2,
        "report": 2,
        "run": 3,
    }
    place = places[kind]
    return kind, words[place].partition("/")[0].partition("@")[0]
