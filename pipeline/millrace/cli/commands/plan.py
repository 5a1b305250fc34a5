"""``millrace plan``: what an epoch of training will cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from millrace.cli.invocation import Invocation, store_command
from millrace.cli.options import Bytes, columns_option
from millrace.cli.output import print_facts
from millrace.display import human_bytes, human_seconds

if TYPE_CHECKING:
    from millrace.training import EpochCost


@click.command(short_help="Tell what an epoch of training will cost.")
@click.argument("name", metavar="NAME[@VERSION]")
@click.option("--cache", "cache_bytes", type=Bytes(), default=0, metavar="BYTES", help="Memory of Redis for it: 2GiB.")
@click.option("--form", type=click.Choice(["stored", "raw"]), default="stored", show_default=True, help="In Redis.")
@click.option("--batch", type=int, default=4096, show_default=True, metavar="ROWS", help="Rows of a global batch.")
@click.option("--world", type=int, default=1, show_default=True, metavar="RANKS", help="Training processes.")
@click.option("--lanes", type=int, default=8, show_default=True, metavar="N", help="Lanes: a multiple of the ranks.")
@click.option("--window", type=int, metavar="CHUNKS", help="Chunks of a lane whose rows are shuffled together.")
@click.option("--shuffle", default="window", show_default=True, help="none, chunk, window or full.")
@click.option("--tail", default="drop_last", show_default=True, help="drop_last, pad or uneven.")
@click.option("--split", metavar="SPLIT", help="A split of the version, as in train.")
@columns_option("Only these columns.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["numpy", "torch", "arrow"]),
    default="numpy",
    show_default=True,
    help="Of the batches. Text and nulls need arrow.",
)
@store_command
def command(invocation: Invocation, /, name: str, cache_bytes: int, form: str, **given: Any) -> None:
    """Tell the hit ratio, memory, bytes from Cassandra and time to the first batch of an epoch, before a job starts.

    Nothing is written but the lease of a reader. The chunks of the first batch are read up to 5 times, at most 32,
    to measure the time. It is that of the cache as it is now. The shuffle is judged by a column that is sorted in
    stored order, which is the worst case: 1.0 means that batches vary as under a full shuffle, 3.0 that they vary
    three times as much.

    JSON: reference, split, rows, chunks, batches, global_batch_rows, lanes, world_size, window_chunks, dropped_rows,
    padded_rows, chunk_reads, cache_bytes, form, cached_chunks, hit_ratio, cassandra_bytes, memory_bytes (of each rank),
    first_batch_s, shuffle_quality.

    \b
    Example:
      millrace plan flights --cache 2GiB --window 4 --world 2 --format arrow
      millrace plan flights --columns distance,hour --batch 1024
    """
    cost = invocation.store.plan_epoch(
        name,
        cache_bytes=cache_bytes,
        form=form,
        world_size=given["world"],
        global_batch_rows=given["batch"],
        lanes=given["lanes"],
        window_chunks=given["window"],
        shuffle=given["shuffle"],
        tail=given["tail"],
        split=given["split"],
        columns=given["columns"],
        format=given["format_"],
    )
    invocation.answer(cost.to_json(), lambda: print_facts(list(_shown(cost).items()), title=cost.reference))


def _shown(cost: EpochCost) -> dict[str, object]:
    ranks = "1 rank" if cost.world_size == 1 else f"{cost.world_size} ranks"
    quality = cost.shuffle_quality
    return {
        "rows": f"{cost.rows:,} in {cost.chunks:,} chunks" + (f", split {cost.split}" if cost.split else ""),
        "batches": f"{cost.batches:,} of {cost.global_batch_rows:,} rows over {ranks}",
        "left over": _left_over(cost),
        "order": f"{cost.lanes} lanes, windows of {cost.window_chunks} chunks a lane",
        "shuffle": "stored order" if quality is None else f"{quality:.2f} times the spread of a full shuffle",
        "chunk reads": f"{cost.chunk_reads:,} in an epoch",
        "hit ratio": f"{cost.hit_ratio:.0%}: {cost.cached_chunks:,} chunks in {human_bytes(cost.cache_bytes)} of Redis",
        "from Cassandra": f"{human_bytes(cost.cassandra_bytes)} in an epoch",
        "memory": f"{human_bytes(cost.memory_bytes)} in each rank, for batches and chunks in flight",
        "first batch": f"after {human_seconds(cost.first_batch_s)}, measured with the cache as it is now",
    }


def _left_over(cost: EpochCost) -> str:
    if cost.padded_rows:
        return f"{cost.padded_rows:,} rows are delivered twice"
    return f"{cost.dropped_rows:,} rows are not delivered" if cost.dropped_rows else "no row"
