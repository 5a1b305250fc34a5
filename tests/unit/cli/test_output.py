from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pyarrow as pa
import pytest

from millrace.cli.output import print_facts, print_json, print_table, printing_through, say, visible, warn
from millrace.cli.preview import print_preview
from millrace.display.units import human_bytes, human_seconds


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (31_200_000, "31.2 MB"), (999_600, "1.00 MB"),
     (5_000_000, "5.00 MB"), (123_456_789, "123 MB"), (2_000_000_000, "2.00 GB"), (9_999_000, "10.0 MB")],
)  # fmt: skip
def test_byte_counts_have_three_significant_digits(count: int, text: str) -> None:
    assert human_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.00 s"), (1.234, "1.23 s"), (12.34, "12.3 s"), (59.96, "1:00"), (125, "2:05"), (3725, "1:02:05")],
)
def test_durations_are_seconds_below_a_minute_and_clock_times_above(seconds: float, text: str) -> None:
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


def test_json_output_supports_times_bytes_and_uuids(capsys: pytest.CaptureFixture[str]) -> None:
    naive = datetime(2026, 11, 22, 10, 0)
    print_json({"t": datetime(2026, 11, 22, 10, 0, tzinfo=UTC), "n": naive, "b": b"\xff", "u": UUID(int=1),
                "p": Path("x"), "s": ("a", "b")})  # fmt: skip
    assert json.loads(capsys.readouterr().out) == {
        "t": "2026-11-22T10:00:00+00:00", "n": "2026-11-22T10:00:00+00:00", "b": "ff", "u": UUID(int=1).hex,
        "p": "x", "s": ["a", "b"],
    }  # fmt: skip


def test_lines_go_to_standard_error_or_above_the_bar(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[str] = []
    with printing_through(seen.append):
        warn("one")
    say("two")
    assert seen == ["millrace: warning: one"]
    assert capsys.readouterr() == ("", "two\n")


def width_of(text: str) -> int:
    """Return the width of the widest line, without colour codes."""
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
    cut_line = "cut at 200 characters: long, list (whole with --output - --format csv, or jsonl)\n"
    assert err == ("not shown: long, list (--columns A,B)\n" if tty else cut_line)


def test_a_table_fits_a_terminal_of_sixty_columns_and_keeps_its_numbers(
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


def test_a_preview_without_rows_or_without_columns_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_preview(pa.table({"a": pa.array([], pa.int8())}))
    assert "a" in capsys.readouterr().out
    print_preview(pa.table({}))


# --- narrow terminals

VERSIONS = ["version", "mode", "parent", "rows", "stored", "committed (UTC)", "run"]
SPARE = ["parent", "mode", "stored"]
ROW = ("3-abc123", "append", "2-abcdef", 1234567, "3.00 MB", "2026-11-11 11:11:11", "cli/flights-3fa9c1d2")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function that makes standard output a terminal with the given number of columns."""

    def be(columns: int) -> None:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    return be


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.mark.parametrize("columns", [30, 40, 60, 66, 72, 80, 90, 96, 97, 120])
@pytest.mark.parametrize("spare", [SPARE, []])
def test_no_id_is_broken_and_a_table_is_as_wide_as_the_terminal_or_becomes_blocks(
    capsys: pytest.CaptureFixture[str], terminal: Callable[[int], None], columns: int, spare: list[str]
) -> None:
    terminal(columns)
    title = f"{'flights_' * 6}@3-abc123"
    print_table(VERSIONS, [ROW, ROW], right=["rows"], spare=spare, title=title)
    out, err = capsys.readouterr()
    lines = plain(out).splitlines()
    assert lines[0] == title
    for whole in ("3-abc123", "2026-11-11 11:11:11", "cli/flights-3fa9c1d2", "1,234,567"):
        assert sum(line.count(whole) for line in lines[1:]) == 2, whole
    if any("──" in line for line in lines):
        assert max(len(line) for line in lines[1:]) <= columns
        assert len(lines) == 5
        assert (err != "") == (spare != [] and columns < 97)
    else:
        assert columns < (74 if spare else 97)
        assert lines[1] == "version:          3-abc123"
        assert len(lines) == (1 + 7 + 1 + 7 if columns > 36 else 1 + 9 + 1 + 9)
        assert err == ""


def test_the_columns_that_are_left_out_are_named(
    capsys: pytest.CaptureFixture[str], terminal: Callable[[int], None]
) -> None:
    terminal(80)
    print_table(VERSIONS, [ROW], right=["rows"], spare=SPARE)
    out, err = capsys.readouterr()
    assert plain(out).split()[:4] == ["version", "rows", "stored", "committed"]
    assert err == "not shown: mode, parent (--json, or a wider terminal)\n"


@pytest.mark.parametrize("columns", [30, 60, 100])
def test_a_long_value_of_a_fact_is_wrapped_between_words_and_never_within_an_id(
    capsys: pytest.CaptureFixture[str], terminal: Callable[[int], None], columns: int
) -> None:
    terminal(columns)
    reference = f"{'a' * 48}@12-3fa9c1"
    print_facts([("deleted", f"{reference}, {reference}"), ("rows", 5), ("why", "word " * 30)], title=reference)
    lines = plain(capsys.readouterr().out).splitlines()
    assert lines[0] == reference
    assert sum(line.count(reference) for line in lines[1:]) == 2
    assert all(len(line.rstrip()) <= columns for line in lines if "aaa" not in line)
    assert "rows     5" in lines


def test_a_name_of_a_fact_gets_its_own_line_if_the_value_does_not_fit_beside_it(
    capsys: pytest.CaptureFixture[str], terminal: Callable[[int], None]
) -> None:
    terminal(61)
    print_facts([(f"only in {'a' * 40}@12-3fa9c1", "1,000,000 chunks (12.3 MB) of many"), ("rows", 5)])
    lines = plain(capsys.readouterr().out).splitlines()
    assert lines == [f"only in {'a' * 40}@12-3fa9c1", "  1,000,000 chunks (12.3 MB) of many", f"rows{' ' * 56}5"]


def test_a_folding_column_is_wrapped_before_a_table_becomes_blocks(
    capsys: pytest.CaptureFixture[str], terminal: Callable[[int], None]
) -> None:
    terminal(60)
    print_table(["what", "why"], [("3-abc123", "a reason " * 12)], folding=["why"])
    lines = plain(capsys.readouterr().out).splitlines()
    assert lines[2].startswith(" 3-abc123   a reason a reason")
    assert len(lines) > 4
    assert max(map(len, lines)) <= 60


def test_an_empty_table_is_its_header(capsys: pytest.CaptureFixture[str], terminal: Callable[[int], None]) -> None:
    terminal(20)
    print_table(VERSIONS, [], spare=SPARE)
    assert "version" in capsys.readouterr().out
