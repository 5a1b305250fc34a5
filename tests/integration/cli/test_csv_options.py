"""Options for CSV with local formats: from files, standard input and gzip, in appends and in splits."""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from millrace.api import Store
from millrace.load import LoadOptions
from millrace.settings import Settings
from millrace.sources import SourceOptions
from tests.integration.cli.conftest import Millrace

Spawn = Callable[..., subprocess.Popen[Any]]

OPTIONS = (
    *("--skip-rows", "2", "--delimiter", "auto", "--decimal", ",", "--date-format", "%d.%m.%Y"),
    *("--true-value", "ja", "--false-value", "nein", "--encoding", "latin-1"),
    *("--columns", 'Stück,"Preis, netto",Tag,da', "--rename", "Stück=pieces", "--rename", '"Preis, netto"=price'),
)


def written(first: int, rows: int) -> bytes:
    lines = ["Bericht", 'Stand "Mai', "Nr;Preis, netto;Tag;da;Stück"]
    lines += [
        f"{n};{n},5;{n % 28 + 1:02d}.02.2026;{'ja' if n % 2 else 'nein'};{n * 10}" for n in range(first, first + rows)
    ]
    return ("\r\n".join(lines) + "\r\n").encode("latin-1")


def expected(first: int, rows: int) -> list[dict[str, Any]]:
    return [
        {"pieces": n * 10, "price": n + 0.5, "Tag": date(2026, 2, n % 28 + 1), "da": bool(n % 2)}
        for n in range(first, first + rows)
    ]


def rows_of(millrace: Millrace, name: str, tmp_path: Path) -> list[dict[str, Any]]:
    out = tmp_path / f"{name}.parquet"
    assert millrace("read", name, "--output", str(out), "--force").code == 0
    rows: list[dict[str, Any]] = pq.read_table(out).to_pylist()
    return rows


def test_a_spreadsheet_with_local_formats_loads_and_is_appended_to(millrace: Millrace, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(written(0, 500))
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(written(500, 10)))
    done = millrace("load", "sheet", str(tmp_path / "a.csv"), *OPTIONS, "--json")
    assert done.code == 0, done.err
    assert [(each["name"], each["type"]) for each in done.json["columns"]] == [
        ("pieces", "int64"),
        ("price", "double"),
        ("Tag", "date32[day]"),
        ("da", "bool"),
    ]
    assert [each["code"] for each in done.json["warnings"]] == ["delimiter_found"]
    assert "the delimiter is a semicolon" in done.err
    assert millrace("load", "sheet", str(tmp_path / "b.csv.gz"), *OPTIONS, "--mode", "append").code == 0
    assert rows_of(millrace, "sheet", tmp_path) == expected(0, 510)


def test_standard_input_and_a_folder_take_the_same_options(millrace: Millrace, spawn: Spawn, tmp_path: Path) -> None:
    process = spawn("load", "piped", "-", "--format", "csv", *OPTIONS, stdin=subprocess.PIPE, text=False)
    _, said = process.communicate(written(0, 300), timeout=120)
    assert process.returncode == 0, said
    assert rows_of(millrace, "piped", tmp_path) == expected(0, 300)
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.csv").write_bytes(written(number * 10, 10))
    assert millrace("load", "folder", str(folder), *OPTIONS).code == 0
    assert rows_of(millrace, "folder", tmp_path) == expected(0, 30)


def test_splits_of_a_plan_sent_as_json_have_the_rows_of_the_file(
    millrace: Millrace, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_bytes(written(0, 3000))
    source = SourceOptions(
        skip_rows=2,
        delimiter="auto",
        decimal=",",
        date_format=("%d.%m.%Y",),
        true_value=("ja",),
        false_value=("nein",),
        encoding="latin-1",
        columns=("Stück", "Preis, netto", "Tag", "da"),
        rename=(("Stück", "pieces"), ("Preis, netto", "price")),
        split_bytes=10_000,
    )
    with Store.connect(settings) as store:
        plan = type(planned := store.plan("split", str(tmp_path / "a.csv"), LoadOptions(source=source))).from_json(
            planned.to_json()
        )
        assert len(plan.source.splits) > 5
        store.publish(plan, [store.load_split(plan, index) for index in range(len(plan.source.splits))])
    assert rows_of(millrace, "split", tmp_path) == expected(0, 3000)


def test_the_same_run_with_another_option_is_another_load(millrace: Millrace, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n01,2\n")
    path = str(tmp_path / "a.csv")
    first = millrace("load", "options", path, "--run-id", "r", "--columns", "a", "--json").json
    again = millrace("load", "options", path, "--run-id", "r", "--columns", "a", "--json").json
    other = millrace("load", "options", path, "--run-id", "r", "--columns", "a", "--rename", "a=c", "--json").json
    assert first["version"] == again["version"] != other["version"]
    assert [each["code"] for each in again["warnings"]] == ["already_loaded", "leading_zeros"]
    assert [(each["column"], each["line"]) for each in first["warnings"]] == [("a", 2)]


def test_the_report_shows_columns_and_warnings(millrace: Millrace, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("zip,price\n01234,1.5\n2,?\n3,2.5\n")
    done = millrace("load", "seen", str(tmp_path / "a.csv"))
    assert "columns       zip int64, price string" in done.out
    assert "line 2: column 'zip' has numbers with leading zeros ('01234')" in done.err
    assert "line 3: column 'price' is text because of one value, '?'" in done.err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--columns", "a,x"), "has no column 'x', which --columns names"),
        (("--rename", "a=b"), "--rename gives two columns the name 'b'"),
        (("--rename", "a"), "'a' is not OLD=NEW"),
        (("--decimal", "1"), "the decimal point is '1'"),
        (("--date-format", "%d.%m"), "has an incomplete date"),
        (("--true-value", "NA"), "has 'NA', which means null"),
        (("--skip-rows", "-1"), "skip_rows is -1"),
        (("--skip-rows", "x"), "'x' is not a valid integer"),
        (("--format", "bytes", "--columns", "a"), "bytes have no columns to choose or rename"),
    ],
)
def test_a_wrong_option_is_one_line_and_leaves_nothing(
    millrace: Millrace, tmp_path: Path, args: tuple[str, ...], said: str
) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    done = millrace("load", "none", str(tmp_path / "a.csv"), *args)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert said in done.err
    assert millrace("versions", "none").code == 1
