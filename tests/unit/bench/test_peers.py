"""Properties of the peers that are tested without starting them."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner

import bench
from bench.__main__ import BENCHMARKS, main
from bench.peers.dsbulk import parse_report
from bench.peers.parquet import CsvToParquet, ParquetRead, write_parquet

REPORT = """\
Operation directory: /somewhere/LOAD_20261122-183312-000000
    total | failed | rows/s | p50ms |  p99ms | p999ms | batches
  100,000 |      0 | 12,000 | 33.36 |  98.04 | 159.38 |    1.00
  336,776 |      0 | 15,396 | 31.16 |  84.41 | 129.50 |    1.00
Operation LOAD_20261122-183312-000000 completed successfully in 21 seconds.
Last processed positions can be found in positions.txt
"""


def test_the_last_line_of_the_bulk_loaders_report_is_used() -> None:
    assert parse_report(REPORT) == (336_776, 0, 15_396.0)


def test_failed_rows_are_reported() -> None:
    assert parse_report(REPORT.replace("336,776 |      0", "336,776 |     12"))[1] == 12


@pytest.mark.parametrize("text", ["", "Operation failed: cannot connect", "total | failed | rows/s\n"])
def test_no_report_is_an_error_and_never_a_rate(text: str) -> None:
    with pytest.raises(ValueError, match="no report"):
        parse_report(text)


def test_the_ceiling_is_at_most_100_lines_and_imports_the_driver_and_isal_alone() -> None:
    text = (Path(bench.__file__).parent / "ceiling.py").read_text()
    assert len(text.splitlines()) <= 100
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    assert imported - sys.stdlib_module_names == {"cassandra", "isal"}


def test_parquet_comes_back_whole_by_columns_and_by_rows(tmp_path: Path) -> None:
    table = pa.table({"n": list(range(1000)), "x": [i / 2 for i in range(1000)]})
    path = tmp_path / "t.parquet"
    write_parquet(table, path)
    assert ParquetRead(str(path)).run()["rows"] == 1000
    assert ParquetRead(str(path), columns=["x"]).run()["arrow_bytes"] < 9000
    assert ParquetRead(str(path), below=["n", 10]).run()["rows"] == 10


@pytest.mark.parametrize("whole", [True, False])
def test_the_conversion_reads_every_row_and_leaves_no_file(tmp_path: Path, whole: bool) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.parquet"
    source.write_text("a,b\n1,NA\n2,x\n")
    facts = CsvToParquet(str(source), str(target), whole).run()
    assert facts["rows"] == 2
    assert facts["stored_bytes"] > 0
    assert not target.exists()


def test_without_a_name_the_benchmarks_are_listed() -> None:
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 0
    for name in (*BENCHMARKS, "all"):
        assert f"\n{name} " in f"\n{result.output}"


def test_every_benchmark_in_the_list_has_a_module_with_a_run() -> None:
    import importlib

    for name in BENCHMARKS:
        assert callable(importlib.import_module(f"bench.{name}").run)


def test_an_unknown_name_is_a_usage_error_that_lists_the_benchmarks() -> None:
    result = CliRunner().invoke(main, ["nothing"])
    assert result.exit_code == 2
    assert "load" in result.output
