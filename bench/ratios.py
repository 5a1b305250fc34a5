"""The names of the ratios of all reports, on which other programs rely."""

from __future__ import annotations

from bench.options import SHAPE_NAMES

__all__ = ["RATIOS"]

_BRIDGE = ("clients", "lost", "p99_ms", "healthz_p99_ms", "bytes_per_client")

_TRAINING = (
    *(
        f"training_warm_vs_{peer}"
        for peer in (
            "parquet",
            "parquet_plain",
            "litdata",
            "lancedb",
            "mosaicml",
            "webdataset",
            "redis_samples",
            "annbatch",
            "memmap",
        )
    ),
    "training_vs_probe",
    "training_cold_vs_rows",
    "training_cold_vs_read",
    "training_raw_vs_stored",
    "training_cpu_vs_parquet",
    "resume_vs_start",
    "first_batch_ms",
    "epoch_gap_ms",
    "wait_p99_ms",
)

RATIOS = frozenset(
    {
        "load_vs_dsbulk",
        "load_vs_local_parquet",
        "load_vs_ceiling",
        "read_vs_local_parquet",
        "read_vs_ceiling",
        "read_vs_arcticdb",
        "project_2_of_200",
        "filter_1_percent",
        "failed_reads",
        "failed_loads",
        "longest_pause_killed_s",
        "longest_pause_frozen_s",
        "throughput_after",
        "failed",
        "total_vs_one",
        "prepare_vs_load",
        "prepare_vs_load_large",
        "rejects_none",
        "rejects_1_percent",
        "orchestration_over_empty_s",
        "orchestration_ten_vs_one",
        "chunk_p99_ms",
        *(key + peer for peer in ("", "_flask_sse", "_kafkasse") for key in _BRIDGE),
        *(key + shape for shape in ("", *(f"_{name}" for name in SHAPE_NAMES)) for key in _TRAINING),
    }
)
"""Names that other programs rely on; a benchmark may use no others."""
