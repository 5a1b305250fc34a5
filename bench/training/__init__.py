"""``bench training``: shuffled epochs for training from Redis and Cassandra, beside the readers that people use.

Each shape of samples is loaded and warmed, then its contestants race in groups. Millrace is in each group, so that it
is compared only with runs made beside its own.
"""

from __future__ import annotations

import statistics

from bench.cluster import cluster
from bench.data import scratch
from bench.options import Options
from bench.peers.environments import locked_version
from bench.report import Report
from bench.training.contestants import PEERS
from bench.training.figures import Figures
from bench.training.prepared import prepare
from bench.training.redis_server import own_redis
from bench.training.samples import make_samples
from bench.training.shape_race import ShapeRace

__all__ = ["run"]


def run(options: Options) -> Report:
    """Race readers of ``options.megabytes`` of each shape; a wrong row of Millrace is a failure."""
    report, figures = Report("training"), Figures()
    others_cores: list[float] = []
    with cluster() as on, scratch() as folder, own_redis(folder) as redis:
        report.extra_versions = {
            "cassandra": on.release,
            **{peer.name: locked_version(peer.name, peer.package) for peer in PEERS},
        }
        for name in options.shapes:
            options.say(f"{name}: making, loading and warming the samples")
            files = folder / name
            files.mkdir()
            shape = prepare(make_samples(name, options.megabytes), on, redis, files)
            report.notes.append(
                f"{name}: {shape.version.rows:,} rows in {shape.version.chunks} chunks, "
                f"{shape.version.raw_bytes:,} raw and {shape.version.stored_bytes:,} stored bytes. "
                f"The cache chose the {shape.chosen} form."
            )
            race = ShapeRace(shape, options, report, figures)
            race.run()
            others_cores += race.others_cores
            redis.flush()
            on.empty("chunks")
    figures.report(report)
    _explain(report, options, others_cores)
    return report


def _explain(report: Report, options: Options, others_cores: list[float]) -> None:
    mean, most = statistics.mean(others_cores), max(others_cores)
    report.notes.append(
        f"Rates are of the best of {options.runs} runs, or of fewer where those took 20 s together. A run ends after "
        "20 s. Epochs of Millrace follow each other without a pause, and it begins an epoch during the last one. The "
        "others begin each epoch anew."
    )
    report.notes.append(
        f"While Parquet ran, other programs took {mean:.2f} cores on average and {most:.2f} at most. Above 0.1 the "
        "figures are not of a quiet machine."
    )
    if options.probe is None:
        report.notes.append("There is no training_vs_probe: --probe names no file.")
