"""Print the figures of the demo's runs: the load, the preparation and the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from millrace.cli.output import print_facts, say
from millrace.display import human_bytes, human_seconds

__all__ = ["print_load", "print_model", "print_prepared"]


def print_load(load: Mapping[str, Any], warm: Mapping[str, Any], took_s: Mapping[str, float]) -> None:
    """Print the report of the load, the chunks in Redis, and the seconds of each part of the demo."""
    cached = warm.get("chunks", 0) + warm.get("already_cached", 0)
    if load["degraded"]:
        say("warning: some of it is on one node only; millrace repair writes the missing replicas")
    print()
    print_facts(
        [
            ("rows", f"{load['rows']:,}"),
            ("raw bytes", f"{load['raw_bytes']:,} ({human_bytes(load['raw_bytes'])})"),
            ("stored bytes", f"{load['stored_bytes']:,} ({human_bytes(load['stored_bytes'])})"),
            ("ratio", f"{load['ratio']:.2f} raw bytes for each stored byte"),
            ("chunks", f"{load['chunks']:,}, {cached:,} of them in Redis"),
            ("replicas", f"{load['replicas']} of each chunk"),
            ("seconds", f"{load['seconds']:.1f} from the run's start until readers saw it ({load['splits']} splits)"),
            ("rows/s", f"{load['rows_per_s']:,.0f}, Airflow's scheduling included"),
            ("took", ", ".join(f"{part} {human_seconds(took)}" for part, took in took_s.items())),
        ],
        title=f"{load['dataset']}@{load['version']}",
    )


def print_prepared(report: Mapping[str, Any]) -> None:
    """Print the rows of each split of the training data, the inputs, and the rate of the preparation."""
    training = report["training"]
    dropped = "; ".join(f"{count:,} {reason}" for reason, count in training["dropped"].items() if count)
    stages = ", ".join(f"{stage} {human_seconds(seconds)}" for stage, seconds in report["stages"].items())
    print()
    print_facts(
        [
            ("inputs", ", ".join(training["inputs"].values())),
            *((f"split {name}", f"{figures['rows']:,} rows") for name, figures in training["splits"].items()),
            ("dropped", dropped or "nothing"),
            ("seconds", f"{report['seconds']:.1f} ({stages})"),
            ("rows/s", f"{training['rows_in'] / max(report['seconds'], 0.001):,.0f}, Airflow's scheduling included"),
        ],
        title=f"{report['dataset']}@{report['version']}",
    )


def print_model(report: Mapping[str, Any], chunks: Mapping[str, float]) -> None:
    """Print the metrics of the model beside those of the baseline, and the hit ratio of its reads.

    ``chunks`` are those that the training read, by the tier that they came from.
    """
    metrics = report["metrics"]
    facts = [("data", report["data"])]
    for name, label in (("auc", "AUC"), ("log_loss", "log loss")):
        ours, base = metrics.get(f"test_{name}"), metrics.get(f"baseline_test_{name}")
        if ours is not None:
            beside = "" if base is None else f", baseline {base:.4f}"
            facts.append((f"test {label}", f"{ours:.4f}{beside}"))
    if read := sum(chunks.values()):
        hits = 1 - chunks["cassandra"] / read
        facts.append(("hit ratio", f"{hits:.0%} of {read:,.0f} chunks came from Redis or the process"))
    facts.append(("seconds", f"{report['seconds']:.1f}"))
    facts.append(("tag", "best" if report["best"] else "none"))
    print()
    print_facts(facts, title=f"{report['dataset']}@{report['version']}")
