"""DAG bundles: the DAGs of the installed package, and the DAGs of declared sources and training data."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from airflow.dag_processing.bundles.base import BaseDagBundle
from airflow.dag_processing.bundles.local import LocalDagBundle

from millrace.airflow.entry_files import EntryFiles
from millrace.declarations import (
    Declarations,
    SourceEntry,
    TrainingEntry,
    read_sources,
    read_training,
    sources_path,
    training_path,
)
from millrace.errors import DeclarationError
from millrace.settings import checkout, load_settings, millrace_home

REFRESH_S: Final = 10
"""Seconds between two looks at a file of declarations; Airflow's own default is 300."""


class MillraceDagBundle(LocalDagBundle):
    """The folder of the DAGs: ``dags`` beside this file in an installed package, and in the checkout otherwise."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(path=str((checkout() or Path(__file__).parent) / "dags"), **kwargs)


class _DeclaredBundle(BaseDagBundle):
    """A folder below the Millrace home with one DAG file for each entry of a YAML file.

    The DAG processor renders the files at each refresh, a worker only if the YAML file has changed since.
    """

    supports_versioning = False

    def __init__(self, files: EntryFiles, *, refresh_interval: int, **kwargs: Any) -> None:
        super().__init__(refresh_interval=refresh_interval, **kwargs)
        self._files = files
        self._rendered = ""
        """The digest of the YAML file that this process has rendered; a new version of the code renders again."""

    @property
    def path(self) -> Path:
        """The folder of the rendered files."""
        return self._files.folder

    def _yaml(self) -> Path:
        """Return the path of the YAML file."""
        raise NotImplementedError

    def _read(self, path: Path) -> Declarations[Any]:
        """Return the entries of the YAML file."""
        raise NotImplementedError

    def get_current_version(self) -> None:
        """Return None: the bundle has no versions."""

    def initialize(self) -> None:
        """Render the files unless they are those of the YAML file as it is."""
        self._render(again=False)
        super().initialize()

    def refresh(self) -> None:
        """Render the files if this process has not rendered the YAML file as it is."""
        # Each file is parsed in a fork of this process: in 20 ms with the module, and in 500 ms without it.
        import_module(self._files.module)
        self._render(again=True)

    def _render(self, *, again: bool) -> None:
        path = self._yaml()
        with self._stamp() as stamp:
            digest = _digest(path)
            # Another process may have rendered another state of the YAML file since.
            if digest == stamp.read_text() and (not again or digest == self._rendered):
                return
            declared = self._declared(path)
            if _digest(path) != digest:
                return  # it was written meanwhile, and may have been read in part: the next refresh renders it
            self._files.render(declared)
            stamp.write_text(digest)
            self._rendered = digest

    @contextmanager
    def _stamp(self) -> Iterator[Path]:
        """Lock the folder, so that a slow process does not render an older YAML file last; yield the digest's file."""
        self.path.mkdir(parents=True, exist_ok=True)
        path = self.path / ".rendered"
        with path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield path

    def _declared(self, path: Path) -> Declarations[Any]:
        has_dags = any(self.path.glob("*.py"))
        if not path.exists() and not has_dags:
            return Declarations(str(path))  # nothing is declared; a file that disappears leaves the DAGs as they are
        declared = self._read(path)
        if has_dags and not (declared.names or declared.file_errors) and not _content(path).strip():
            # Many programs empty a file before they write it, and a worker may look at it just then.
            hint = f"write {self._files.key}: {{}} to remove all DAGs"
            error = DeclarationError(f"{declared.file}:1: the file is empty", hint=hint, file=declared.file, line=1)
            return Declarations(declared.file, file_errors=[error])
        return declared


class DeclaredSourcesBundle(_DeclaredBundle):
    """The DAGs of the declared sources."""

    def __init__(self, *, refresh_interval: int = REFRESH_S, **kwargs: Any) -> None:
        files = EntryFiles(
            folder=millrace_home() / "dags" / "sources",
            key="sources",
            module="millrace.airflow.declared",
            function="ingest_dag",
            prefix="ingest_",
        )
        super().__init__(files, refresh_interval=refresh_interval, **kwargs)

    def _yaml(self) -> Path:
        return sources_path(load_settings())

    def _read(self, path: Path) -> Declarations[SourceEntry]:
        return read_sources(path)


class DeclaredTrainingBundle(_DeclaredBundle):
    """The DAGs of the declared training data: that of its preparation, and that of its model if it has one."""

    def __init__(self, *, refresh_interval: int = REFRESH_S, **kwargs: Any) -> None:
        files = EntryFiles(
            folder=millrace_home() / "dags" / "training",
            key="training",
            module="millrace.airflow.declared_training",
            function="training_dags",
            prefix="prepare_",
        )
        super().__init__(files, refresh_interval=refresh_interval, **kwargs)

    def _yaml(self) -> Path:
        return training_path(load_settings())

    def _read(self, path: Path) -> Declarations[TrainingEntry]:
        return read_training(path)


def _digest(path: Path) -> str:
    """Return a digest of the path and its content."""
    return hashlib.sha256(b"%s\0%s" % (str(path).encode(), _content(path))).hexdigest()


def _content(path: Path) -> bytes:
    """Return the content of the file, or the error with which it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        return repr(error).encode()
