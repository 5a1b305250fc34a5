"""The file of declared training data, and the mistakes that only several of its entries together show."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from millrace.declarations.cycles import cycle_problem
from millrace.declarations.document import CrossFault, Declarations, Section, found, made_entry, read_declarations
from millrace.declarations.training_entry import QUERIES, TrainingEntry
from millrace.settings import Settings, default_training_file

RESERVED_NAMES = frozenset({"training_data", "model"})
"""The DAGs of an entry are ``prepare_NAME`` and ``train_NAME``; ``prepare_training_data`` and ``train_model`` exist."""
RESERVED_ENDINGS = ("_model", "_rejects")
"""The model of an entry is the dataset ``NAME_model``."""


def training_path(settings: Settings) -> Path:
    """Return the path of the declared training data: the setting ``training.file``, or its default."""
    return Path(settings.training.file).expanduser() if settings.training.file else default_training_file()


def read_training(path: Path) -> Declarations[TrainingEntry]:
    """Return the declared training data of a file, and all errors in it."""
    return read_declarations(path, TRAINING)


def find_training(name: str, settings: Settings, *, file: str | Path | None = None) -> TrainingEntry:
    """Return the declared training data with this name, of ``file`` or of the file of the settings.

    Raises ``UsageError`` with the nearest names if there is none, and ``DeclarationError`` with its errors if it is
    broken or if the file is.
    """
    declared = read_training(Path(file).expanduser() if file else training_path(settings))
    names = ", ".join(declared.names)
    hint = f"the file declares {names}" if names else "the file declares no training data"
    return found(name, declared, "training data", hint=hint)


def make_training(name: str, fields: Mapping[str, Any], *, folder: Path | None = None) -> TrainingEntry:
    """Return the entry with these fields, such as those of a form; raise ``DeclarationError`` with all of its errors.

    ``folder`` has the file of ``query_file``; by default it is the working directory.
    """
    return made_entry(name, fields, TRAINING, folder or Path.cwd())


def _check_entries(entries: Mapping[str, TrainingEntry]) -> list[CrossFault]:
    """Return the entries that make a cycle with earlier ones of the file, which stay usable."""
    accepted: dict[str, tuple[str, ...]] = {}
    faults = []
    for name, entry in entries.items():
        if problem := cycle_problem([*accepted.items(), (name, entry.datasets)]):
            faults.append(CrossFault(name, "inputs", problem))
        else:
            accepted[name] = entry.datasets
    return faults


TRAINING = Section(
    "training",
    TrainingEntry,
    reserved=RESERVED_NAMES,
    alternatives=QUERIES,
    check=_check_entries,
    reserved_endings=RESERVED_ENDINGS,
)
