"""The bundle of declared sources renders the YAML file when it changed, also in a worker."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from threading import Thread
from typing import Any

import pytest

from millrace.airflow import bundle as bundle_module
from millrace.airflow.bundle import DeclaredSourcesBundle, DeclaredTrainingBundle


@pytest.fixture
def yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "sources.yaml"
    monkeypatch.setenv("MILLRACE_SOURCES__FILE", str(path))
    path.write_text("sources:\n  a: {uri: a.csv}\n")
    return path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """Record each reading of the YAML file for rendering."""
    real, paths = bundle_module.read_sources, []

    def counted(path: Path) -> Any:
        paths.append(path)
        return real(path)

    monkeypatch.setattr(bundle_module, "read_sources", counted)
    return paths


def bundle() -> DeclaredSourcesBundle:
    return DeclaredSourcesBundle(name="declared-sources")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.py"))


def test_the_files_are_below_the_home_and_looked_at_every_ten_seconds(yaml: Path) -> None:
    made = bundle()
    made.initialize()
    assert made.path == Path(os.environ["MILLRACE_HOME"]) / "dags" / "sources"
    assert made.is_initialized
    assert made.refresh_interval == 10
    assert made.get_current_version() is None
    assert names(made.path) == ["ingest_a.py"]
    assert DeclaredSourcesBundle(name="x", refresh_interval=30).refresh_interval == 30


def test_a_refresh_renders_a_changed_file_and_reads_an_unchanged_one_once(yaml: Path, reads: list[Path]) -> None:
    made = bundle()
    made.initialize()
    made.refresh()
    made.refresh()
    assert len(reads) == 1
    yaml.write_text("sources:\n  b: {uri: b.csv}\n")
    made.refresh()
    assert names(made.path) == ["ingest_b.py"]
    assert len(reads) == 2


def test_a_worker_renders_only_if_the_file_has_changed(yaml: Path, reads: list[Path]) -> None:
    bundle().initialize()
    bundle().initialize()
    assert len(reads) == 1
    yaml.write_text("sources:\n  b: {uri: b.csv}\n")
    worker = bundle()
    worker.initialize()
    assert names(worker.path) == ["ingest_b.py"]


def test_a_new_dag_processor_renders_again_because_its_code_may_be_new(yaml: Path) -> None:
    first = bundle()
    first.refresh()
    (first.path / "ingest_a.py").write_text("an older form")
    bundle().refresh()
    assert "ingest_dag(" in (first.path / "ingest_a.py").read_text()


def test_many_processes_may_render_at_once(yaml: Path) -> None:
    yaml.write_text("sources:\n" + "".join(f"  s{n}: {{uri: a.csv}}\n" for n in range(20)))
    threads = [Thread(target=bundle().initialize) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names(bundle().path) == sorted(f"ingest_s{n}.py" for n in range(20))
    assert list(bundle().path.glob("*.partial")) == []


def test_without_a_file_nothing_is_declared_and_nothing_is_wrong(yaml: Path) -> None:
    yaml.unlink()
    made = bundle()
    made.initialize()
    made.refresh()
    assert names(made.path) == []


def test_a_file_that_disappears_leaves_the_dags_and_is_one_error(yaml: Path) -> None:
    made = bundle()
    made.refresh()
    content = yaml.read_text()
    yaml.unlink()
    made.refresh()
    assert names(made.path) == ["ingest_a.py", "sources_file_error.py"]
    yaml.write_text(content)
    made.refresh()
    assert names(made.path) == ["ingest_a.py"]


def test_an_empty_file_leaves_the_dags_and_is_one_error(yaml: Path) -> None:
    made = bundle()
    made.refresh()
    for content in ("", "\n \n"):
        yaml.write_text(content)
        bundle().initialize()
        assert names(made.path) == ["ingest_a.py", "sources_file_error.py"]
    error = (made.path / "sources_file_error.py").read_text()
    assert "the file is empty: write sources: {} to remove all DAGs" in error
    yaml.write_text("sources: {}\n")
    made.refresh()
    assert names(made.path) == []


def test_a_refresh_renders_again_what_a_worker_rendered_of_another_state(yaml: Path) -> None:
    made = bundle()
    made.refresh()
    content = yaml.read_text()
    yaml.write_text("sources:\n  b: {uri: b.csv}\n")
    bundle().initialize()
    yaml.write_text(content)
    made.refresh()
    assert names(made.path) == ["ingest_a.py"]


def test_a_refresh_renders_again_after_the_folder_was_removed(yaml: Path) -> None:
    made = bundle()
    made.refresh()
    rmtree(made.path)
    made.refresh()
    assert names(made.path) == ["ingest_a.py"]


def test_a_file_that_is_written_while_it_is_read_is_rendered_by_the_next_refresh(
    yaml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bundle()
    made.refresh()
    real, content = bundle_module.read_sources, "sources:\n  a: {uri: a.csv}\n  b: {uri: b.csv}\n"

    def written_meanwhile(path: Path) -> Any:
        declared = real(path)
        yaml.write_text(content)
        return declared

    monkeypatch.setattr(bundle_module, "read_sources", written_meanwhile)
    yaml.write_text("sources: {}\n")
    made.refresh()
    assert names(made.path) == ["ingest_a.py"]
    made.refresh()
    assert names(made.path) == ["ingest_a.py", "ingest_b.py"]


TRAINING = """
training:
  late:
    inputs: {trips: trips}
    query: SELECT id FROM trips
    key: id
    target: delay > 15
    splits: {train: 0.7, val: 0.3}
    train: examples.late:train
  broken:
    inputs: {trips: trips}
    query: SELECT id FROM trips
    kye: id
    target: delay > 15
    splits: {train: 0.7, val: 0.3}
"""


@pytest.fixture
def training_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "training.yaml"
    monkeypatch.setenv("MILLRACE_TRAINING__FILE", str(path))
    path.write_text(TRAINING)
    return path


def test_an_entry_of_training_data_has_a_file_with_both_of_its_dags(training_yaml: Path) -> None:
    from airflow.dag_processing.dagbag import DagBag

    made = DeclaredTrainingBundle(name="declared-training")
    made.initialize()
    assert made.path == Path(os.environ["MILLRACE_HOME"]) / "dags" / "training"
    assert names(made.path) == ["prepare_broken.py", "prepare_late.py"]
    assert made.refresh_interval == 10
    bag = DagBag(str(made.path))
    assert set(bag.dags) == {"prepare_late", "train_late"}


def test_a_broken_entry_of_training_data_is_an_error_of_its_own_with_file_line_and_field(training_yaml: Path) -> None:
    from airflow.dag_processing.dagbag import DagBag

    made = DeclaredTrainingBundle(name="declared-training")
    made.initialize()
    ((file, error),) = DagBag(str(made.path)).import_errors.items()
    assert Path(file).name == "prepare_broken.py"
    assert f"{training_yaml.name}:13: training.broken.kye is unknown: did you mean key?" in error


def test_an_empty_training_file_leaves_the_dags_and_is_one_error(training_yaml: Path) -> None:
    made = DeclaredTrainingBundle(name="declared-training")
    made.refresh()
    training_yaml.write_text("")
    made.refresh()
    assert names(made.path) == ["prepare_broken.py", "prepare_late.py", "training_file_error.py"]
    assert "write training: {} to remove all DAGs" in (made.path / "training_file_error.py").read_text()
    training_yaml.write_text("training: {}")
    made.refresh()
    assert names(made.path) == []


def test_the_files_of_sources_and_of_training_data_are_in_folders_of_their_own(yaml: Path, training_yaml: Path) -> None:
    bundle().refresh()
    DeclaredTrainingBundle(name="declared-training").refresh()
    assert names(bundle().path) == ["ingest_a.py"]
