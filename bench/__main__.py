"""``python -m bench``: the command that lists the benchmarks and runs them by name."""

from __future__ import annotations

import importlib
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from bench.data import bench_folder
from bench.options import SHAPE_NAMES, Options
from millrace.cli.options import Seconds
from millrace.errors import MillraceError, StackError

BENCHMARKS = {
    "load": "CSV and Arrow into Cassandra; DataStax Bulk Loader, local gzip Parquet, the ceiling",
    "read": "a whole dataset back to Arrow; local gzip Parquet, the ceiling, ArcticDB",
    "project": "2 of 200 columns against all of them; the ceiling, local gzip Parquet",
    "bridge": "progress to thousands of clients; Flask-SSE with its Redis, KafkaSSE",
    "progress": "cost of progress reports for a load, with Kafka up and with Kafka frozen",
    "filter": "a filter that keeps 1 % of a sorted column against none; local gzip Parquet",
    "without": "a load with Kafka or Redis stopped against one with both",
    "failover": "each node killed, then frozen, under a load and a reader; a quarter of an hour",
    "traffic": "eight loaders and eight readers at once for five minutes, against one of each",
    "versions": "5,000 versions of one dataset and a version of 250,000 chunks: show, head, filter, append",
    "rejects": "a budget for bad rows: none of them, and 1 %, against a load without a budget",
    "orchestration": "trigger of a DAG to a readable version of 1 MB; a DAG of the same tasks that do nothing",
    "training": "shuffled epochs for training; Parquet, memmap, LitData, LanceDB, MosaicML, WebDataset, rows, samples",
    "prepare": "the shipped training data from flights and weather, against the load of the same CSV",
    "orders": "chunks stored by (chunk, tile) against (tile, chunk): two of 40 tiles, and all of them",
}
OWN_NODES = ("bridge", "traffic")
"""Benchmarks that share no nodes with others: ``bridge`` needs none running beside it, ``traffic`` needs nodes with
heaps of its own size."""

_SECONDS = Seconds(1, 3600)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, metavar="[NAME]...", type=click.Choice([*BENCHMARKS, "all"]))
@click.option("--runs", default=5, show_default=True, type=click.IntRange(1, 100), help="of each contestant, in turn")
@click.option("--warm-ups", default=10, show_default=True, type=click.IntRange(0, 100), help="of reads, uncounted")
@click.option("--fresh", default=3, show_default=True, type=click.IntRange(1, 100), help="processes for first reads")
@click.option(
    "--times", default=20, show_default=True, type=click.IntRange(1, 200), help="how often flights is repeated"
)
@click.option("--dsbulk-runs", default=3, show_default=True, type=click.IntRange(0, 100), help="0 leaves it out")
@click.option("--dsbulk-times", default=3, show_default=True, type=click.IntRange(1, 200), help="its flights")
@click.option("--before", "before_s", default=30.0, show_default=True, type=_SECONDS, help="s before each fault")
@click.option("--after", "after_s", default=60.0, show_default=True, type=_SECONDS, help="s after each fault")
@click.option("--traffic", "traffic_s", default=300.0, show_default=True, type=_SECONDS, help="s of the crowd")
@click.option(
    "--shapes",
    default=",".join(SHAPE_NAMES),
    show_default=True,
    callback=lambda _context, _option, names: _shapes(names),
    help="of training data",
)
@click.option("--megabytes", default=500, show_default=True, type=click.IntRange(1, 10_000), help="of each shape")
@click.option(
    "--probe", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="program of a probe of training"
)
@click.option("--quiet", is_flag=True, help="no line for each run")
def main(names: tuple[str, ...], **chosen_options: Any) -> None:
    """Run the benchmarks NAME, or all; without a name, list them.

    Prints tables and writes .millrace/bench/NAME.json. Services that do not run are started, and stopped afterwards.
    Several benchmarks run on the same nodes and, where they read the same, on the same data: load before read.

    Example: ./run bench load read project filter --runs 3
    """
    if not names:
        for known, what in BENCHMARKS.items():
            click.echo(f"{known:<14} {what}")
        click.echo(f"{'all':<14} each of them, one after the other")
        return
    chosen = list(dict.fromkeys(BENCHMARKS if "all" in names else names))
    options = Options(**chosen_options)
    together = [name for name in chosen if name not in OWN_NODES]
    failures: list[str] = []
    with _cluster() if len(together) > 1 else nullcontext():
        for name in together:
            failures += _one(name, options)
    for name in chosen:
        if name in OWN_NODES:
            failures += _one(name, options)
    if failures:
        raise StackError(f"a result that must not occur: {'; '.join(failures)}", hint="the notes of its table say more")


def _shapes(names: str) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(names.split(",")))
    for name in chosen:
        if name not in SHAPE_NAMES:
            raise click.BadParameter(f"{name!r} is no shape; there are {', '.join(SHAPE_NAMES)}")
    return chosen


def _cluster() -> Any:
    from bench.cluster import cluster  # slow to import, and not needed to list the names

    return cluster()


def _one(name: str, options: Options) -> list[str]:
    """Run a benchmark, print its table and write its report; return its failures, each with its name."""
    report = importlib.import_module(f"bench.{name}").run(options)
    path = report.write(bench_folder())
    click.echo(f"{report.table()}\n\n{path}\n")
    return [f"{name}: {why}" for why in report.failures]


def run() -> None:
    """Run the command line; an error of the project is one line and exit code 1.

    SIGTERM becomes ``SystemExit``, so that services and keyspaces are cleaned up.
    """
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))
    try:
        main(prog_name="./run bench", standalone_mode=False)
    except MillraceError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)


if __name__ == "__main__":
    run()
