"""Each entry of a YAML file is a DAG file of its own, which is written only if the entry changed."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from millrace.airflow.entry_files import EntryFiles
from millrace.declarations import read_sources

EIGHT = """
sources:
  a: {uri: a.csv}
  b: {uri: b.csv, schedule: "5 * *"}
  c: {uri: c.csv}
  d: {uri: "https://key:geheim@example.org/d.csv"}
  e: {uri: e.csv}
  f: {uri: f.csv, kepe: 3}
  g: {uri: g.csv}
  h: {uri: h.csv}
"""


@pytest.fixture
def files(tmp_path: Path) -> EntryFiles:
    return EntryFiles(tmp_path / "dags", "sources", "millrace.airflow.declared", "ingest_dag", "ingest_")


@pytest.fixture
def yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "sources.yaml"


def rendered(files: EntryFiles, yaml: Path, text: str) -> dict[str, str]:
    yaml.write_text(dedent(text))
    files.render(read_sources(yaml))
    return {path.name: path.read_text() for path in files.folder.iterdir()}


def error_of(text: str) -> str:
    with pytest.raises(Exception, match="sources") as caught:
        exec(text, {})
    assert type(caught.value).__name__ == "DeclarationError"
    return str(caught.value)


def test_a_file_calls_the_function_with_the_fields_of_its_entry(files: EntryFiles, yaml: Path) -> None:
    text = """
        defaults: {keep: 2}
        sources:
          trips: {uri: "{date:%Y}.csv", max_bad_rows: 1%, rename: {a: b}, contract: freeze}
        """
    (content,) = rendered(files, yaml, text).values()
    called: list[tuple[str, dict[str, object]]] = []
    code = content.replace("from millrace.airflow.declared import ingest_dag", "")
    exec(code, {"ingest_dag": lambda *given: called.append(given)})
    assert called == [
        (
            "trips",
            {
                "uri": ["{date:%Y}.csv"],
                "dataset": "trips",
                "mode": "incremental",
                "keep": 2,
                "max_bad_rows": "1%",
                "rename": {"a": "b"},
                "contract": {"columns": "freeze", "types": "freeze"},
            },
        )
    ]


def test_airflow_takes_every_file_for_one_with_dags(files: EntryFiles, yaml: Path) -> None:
    from airflow.utils.file import might_contain_dag

    rendered(files, yaml, EIGHT)
    assert all(might_contain_dag(str(path), safe_mode=True) for path in files.folder.glob("*.py"))


def test_each_broken_entry_has_a_file_that_raises_its_own_error(files: EntryFiles, yaml: Path) -> None:
    contents = rendered(files, yaml, EIGHT)
    assert sorted(contents) == [f"ingest_{name}.py" for name in "abcdefgh"]
    errors = {name: error_of(contents[f"ingest_{name}.py"]) for name in "bdf"}
    assert errors == {
        "b": 'sources.yaml:4: sources.b.schedule is "5 * *": give five fields',
        "d": "sources.yaml:6: sources.d.uri has a URI with credentials: remove them, and name a connection in the "
        "field connection",
        "f": "sources.yaml:8: sources.f.kepe is unknown: did you mean keep?",
    }
    assert "geheim" not in "".join(contents.values())


def test_only_the_file_of_the_entry_that_changed_is_written(files: EntryFiles, yaml: Path) -> None:
    rendered(files, yaml, EIGHT)
    times = {path.name: path.stat().st_mtime_ns for path in files.folder.iterdir()}
    contents = rendered(files, yaml, EIGHT.replace("5 * *", "5 * * * *").replace("  a:", "\n\n  a:"))
    changed = {path.name for path in files.folder.iterdir() if path.stat().st_mtime_ns != times[path.name]}
    # The messages of the two other broken entries have new line numbers.
    assert changed == {"ingest_b.py", "ingest_d.py", "ingest_f.py"}
    assert "ingest_dag(" in contents["ingest_b.py"]


def test_a_yaml_that_cannot_be_read_leaves_all_files_and_adds_one(files: EntryFiles, yaml: Path) -> None:
    before = rendered(files, yaml, EIGHT)
    for broken in ("sources: {a: [", "source:\n  a: {uri: a.csv}\n"):
        contents = rendered(files, yaml, broken)
        assert error_of(contents.pop("sources_file_error.py")).startswith("sources.yaml:")
        assert contents == before
    assert rendered(files, yaml, EIGHT) == before


def test_the_file_of_a_removed_entry_is_removed(files: EntryFiles, yaml: Path) -> None:
    rendered(files, yaml, EIGHT)
    assert list(rendered(files, yaml, "sources:\n  c: {uri: c.csv}\n")) == ["ingest_c.py"]
    assert rendered(files, yaml, "") == {}


@pytest.mark.parametrize("name", ["../../evil", "A b", "dataset", "x" * 60, "ä\\n"])
def test_an_entry_with_a_wrong_name_has_a_file_with_a_safe_name(files: EntryFiles, yaml: Path, name: str) -> None:
    contents = rendered(files, yaml, f'sources:\n  "{name}": {{uri: a.csv}}\n')
    (file_name,) = contents
    assert Path(file_name).name == file_name
    assert file_name.isascii()
    assert len(file_name) < 70
    assert "name" in error_of(contents[file_name])
