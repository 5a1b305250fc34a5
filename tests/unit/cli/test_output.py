from __future__ import annotations

import io
import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pyarrow as pa
import pytest

from pipeline.cli.output import (
    human_bytes,
    human_seconds,
    print_facts,
    print_json,
    print_table,
    say,
    saying_through,
    visible,
    warn,
)
from pipeline.cli.preview import print_preview


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (31_200_000, "31.2 MB"), (999_600, "1.00 MB"),
     (5_000_000, "5.00 MB"), (123_456_789, "123 MB"), (2_000_000_000, "2.00 GB"), (9_999_000, "10.0 MB")],
)  # fmt: skip
def test_bytes_are_told_in_three_digits(count: int, text: str) -> None:
    assert human_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.00 s"), (1.234, "1.23 s"), (12.34, "12.3 s"), (59.96, "1:00"), (125, "2:05"), (3725, "1:02:05")],
)
def test_seconds_are_told_as_people_tell_them(seconds: float, text: str) -> None:
    assert human_seconds(seconds) == text


def test_a_piped_table_is_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name", "n"], [("x" * 500, 1234567), ("[bold]y[/bold]", 1)], right=["n"])
    lines = capsys.readouterr().out.splitlines()
    assert [len(line) for line in lines] == [len(lines[0])] * len(lines)
    assert "x" * 500 in lines[2]
    assert "1,234,567" in lines[2]
    assert "[bold]y[/bold]" in lines[3]
    assert "\x1b" not in "".join(lines)


def test_data_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["a\x1b[2Jb"], [["c\rd\ne\u202ef"]])
    print_facts([("x", "y\x07z")])
    out = capsys.readouterr().out
    assert "a\\x1b[2Jb" in out
    assert "c\\rd\\ne\\u202ef" in out
    assert "y\\x07z" in out
    assert visible("Größe 1 €") == "Größe 1 €"


def test_an_ascii_terminal_gets_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    print_table(["Größe"], [["€"]])
    assert b"Gr\\xf6\\xdfe" in raw.getvalue()
    assert b"\\u20ac" in raw.getvalue()


def test_json_knows_times_bytes_and_ids(capsys: pytest.CaptureFixture[str]) -> None:
    naive = datetime(2026, 11, 22, 10, 0)
    print_json({"t": datetime(2026, 11, 22, 10, 0, tzinfo=UTC), "n": naive, "b": b"\xff", "u": UUID(int=1),
                "p": Path("x"), "s": ("a", "b")})  # fmt: skip
    assert json.loads(capsys.readouterr().out) == {
        "t": "2026-11-22T10:00:00+00:00", "n": "2026-11-22T10:00:00+00:00", "b": "ff", "u": UUID(int=1).hex,
        "p": "x", "s": ["a", "b"],
    }  # fmt: skip


def test_lines_go_to_standard_error_or_above_the_bar(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[str] = []
    with saying_through(seen.append):
        warn("one")
    say("two")
    assert seen == ["millrace: warning: one"]
    assert capsys.readouterr() == ("", "two\n")


def width_of(text: str) -> int:
    """Of the widest line, without what only colours it."""
    return max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in text.splitlines())


def test_a_piped_preview_has_every_column(capsys: pytest.CaptureFixture[str]) -> None:
    table = pa.table({f"column_{i}": [f"{'long ' * 20}{i}", None] for i in range(30)} | {"n": [1, 22]})
    print_preview(table)
    out, err = capsys.readouterr()
    assert err == ""
    assert "long 29" in out
    assert "column_29" in out
    assert "null" in out


def test_a_preview_on_a_terminal_shows_the_columns_that_fit_and_names_the_others(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    print_preview(pa.table({f"column_{i}": ["x" * 100] for i in range(5)}))
    out, err = capsys.readouterr()
    assert "column_0" in out
    assert "column_1" not in out
    assert out.count("x") == 100
    assert width_of(out) <= 80
    assert err == "not shown: column_1, column_2, column_3, column_4 (--columns A,B)\n"


@pytest.mark.parametrize("tty", [True, False])
def test_a_cell_is_cut_at_200_characters_and_its_column_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tty: bool
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: tty)
    monkeypatch.setenv("COLUMNS", "60")
    cells = {"n": [1, 2], "whole": ["y" * 200, ""], "long": ["x" * 201, None], "list": [[7] * 100, None]}
    print_preview(pa.table(cells))
    out, err = capsys.readouterr()
    assert (out.count("y"), out.count("x"), out.count("…")) == ((200, 0, 0) if tty else (200, 199, 2))
    said = "cut at 200 characters: long, list (whole with --output - --format csv, or jsonl)\n"
    assert err == ("not shown: long, list (--columns A,B)\n" if tty else said)


def test_a_table_of_sixty_columns_of_the_terminal_keeps_its_numbers_and_fits(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    rows = {"id": [123456789], "text": ["word " * 60], "when": ["2026-11-29 01:18:47"]}
    print_preview(pa.table(rows))
    out, err = capsys.readouterr()
    assert "123,456,789" in out or "123456789" in out
    assert width_of(out) <= 60
    assert "cut at 200 characters: text (whole with --output -" in err
    assert err.endswith("\nnot shown: when (--columns A,B)\n")


def test_hundreds_of_columns_that_do_not_fit_are_counted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    print_preview(pa.table({f"column_{i:04}": [i] for i in range(5000)}))
    assert capsys.readouterr().err.endswith("column_0033 and 4,966 more (--columns A,B)\n")


def test_a_preview_of_no_rows_and_of_no_columns_is_fine(capsys: pytest.CaptureFixture[str]) -> None:
    print_preview(pa.table({"a": pa.array([], pa.int8())}))
    assert "a" in capsys.readouterr().out
    print_preview(pa.table({}))
