"""Check each node alone: stop the other one, and compare every row in a fresh process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench.cluster import Cluster
from bench.contestant import Contestant, contestants
from bench.options import Options
from millrace.errors import StackError
from millrace.store.catalogue.version import Version

__all__ = ["each_node_alone"]

_NODES = ("cassandra-1", "cassandra-2")


def each_node_alone(on: Cluster, options: Options, source: Path, versions: Mapping[str, Version]) -> None:
    """Stop one node, read every dataset from the other, start it again; then the other way round.

    Chunks, pages and version rows can come from one node only, over a connection that never reached the other one.
    Raises ``StackError`` if a version is not the one given, or if its rows are not ``source`` repeated.
    """
    for stopped, serving in (_NODES, _NODES[::-1]):
        on.stack.down([stopped])
        try:
            for name, version in versions.items():
                _read_alone(on, options, source, serving, name, version)
        finally:
            on.stack.up(["cassandra"])


def _read_alone(on: Cluster, options: Options, source: Path, serving: str, name: str, version: Version) -> None:
    job = {"dataset": name, "source": str(source)}
    reader = Contestant.of(f"{name} from {serving} alone", "bench.compare:Whole", on.environment, **job)
    with contestants(reader):
        outcome = reader.ask()
    served, expected = (outcome.facts["version"], outcome.rows), (version.label, version.rows)
    if served != expected:
        shown, was = (f"@{label} of {rows:,} rows" for label, rows in (served, expected))
        raise StackError(f"{serving} alone serves {name}{shown}, and both together served {name}{was}")
    options.say(f"  {serving} alone serves {outcome.rows:,} rows of {name} in {outcome.seconds:.1f} s")
