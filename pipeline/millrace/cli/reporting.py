"""Report the progress of a command: a bar on the terminal, and events to Kafka that never delay the work."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from millrace.cli.output import printing_through, visible
from millrace.display import human_bytes, human_seconds
from millrace.names import new_run_id

if TYPE_CHECKING:
    from millrace.progress import Event, ProgressTask, Sink
    from millrace.settings import KafkaSettings


CLOSE_S = 1.0
"""Time that the end of a command waits for its last events."""


@dataclass(slots=True)
class Reported:
    """A running task; after the block ``missing`` has ``progress`` if events were dropped."""

    task: ProgressTask
    missing: list[str] = field(default_factory=list)


def draws_bars() -> bool:
    """Return whether standard error is a terminal that can move its cursor."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


@contextmanager
def reported(
    kafka: KafkaSettings | None,
    *,
    command: str,
    dataset: str,
    run: str | None = None,
    total: int | None,
    unit: str = "rows",
    again: bool = False,
) -> Iterator[Reported]:
    """Report the block as the task ``cli/<run>/<command>``, to Kafka unless None and to a bar on a terminal.

    The kind of the task is the name of the command, and a new run id is made unless ``run`` is given.
    ``again`` is true if this run may have been reported before: its events then belong to another attempt.
    """
    from millrace import progress

    attempt = progress.attempt_now() if again else 1
    run_id = run or new_run_id(dataset or command)
    identity = progress.TaskIdentity(dag_id="cli", run_id=run_id, task_id=command, attempt=attempt)
    sink = progress.NullSink() if kafka is None else progress.kafka_sink(kafka)
    result = Reported(progress.null_task())
    try:
        with ExitStack() as stack:
            sinks: list[Sink] = [sink]
            if draws_bars():
                sinks.append(stack.enter_context(Bar(f"{command} {dataset}")))
            task = progress.task(identity, kind=command, dataset=dataset, total=total, unit=unit, sinks=sinks)
            result.task = stack.enter_context(task)
            yield result
    finally:
        sink.close(CLOSE_S)
        if getattr(sink, "dropped", 0):
            result.missing.append("progress")


class Bar:
    """Sink that draws a bar: done, total, rate and time left. Removed when it is closed."""

    def __init__(self, title: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.text import Text

        console = Console(stderr=True, highlight=False, emoji=False)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[count]}", justify="right", markup=False),
            TextColumn("{task.fields[rate]}", justify="right", markup=False),
            TextColumn("{task.fields[left]}", justify="right", markup=False),
            console=console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._title = title
        self._bar = self._progress.add_task(title, total=None, count="", rate="", left="")
        self._lines_above = printing_through(lambda text: console.print(Text(text), soft_wrap=True))

    def __enter__(self) -> Bar:
        self._progress.start()
        self._lines_above.__enter__()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._lines_above.__exit__(None, None, None)
        self._progress.stop()

    def emit(self, event: Event) -> None:
        """Store the newest snapshot; rich draws it ten times a second."""
        data = event["data"]
        if "done" in data:
            phase = f" ({data['phase']})" if data["phase"] else ""
            self._progress.update(
                self._bar, description=self._title + phase, completed=data["done"], total=data["total"], **_fields(data)
            )

    def close(self, timeout_s: float = 5.0) -> None:
        """Do nothing: no event is buffered, and the bar ends with its block."""


def amount(number: float, unit: str) -> str:
    """Return a number of bytes as a size, and any other number with separators of thousands."""
    return human_bytes(number) if unit == "bytes" else f"{number:,.0f}"


def count_of(data: Mapping[str, Any]) -> str:
    """Return ``40 of 100 rows``, or ``40 rows`` if the total is unknown; empty without data."""
    if not data:
        return ""
    unit = data["unit"]
    total = f" of {amount(data['total'], unit)}" if data["total"] is not None else ""
    return f"{amount(data['done'], unit)}{total}" + ("" if unit == "bytes" else f" {visible(unit)}")


def rate_of(data: Mapping[str, Any]) -> str:
    """Return ``2,000/s``; empty if the rate is unknown or 0."""
    return f"{amount(data['rate'], data['unit'])}/s" if data.get("rate") else ""


def _fields(data: Mapping[str, Any]) -> dict[str, Any]:
    done, total, rate = data["done"], data["total"], data["rate"]
    is_known = rate and total is not None and done < total
    left = f"{human_seconds((total - done) / rate)} left" if is_known else ""
    return {"count": count_of(data), "rate": rate_of(data), "left": left}
