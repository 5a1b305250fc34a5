"""Load rejected rows again: the checks of a replay, its plan and its result.

A replay is an append whose identity follows from the version that it replays. So two replays of one version are the
same load, and its rows are added once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from millrace.arrow import decoded_type, widest_type
from millrace.errors import BadRowsError, SourceTypeError, UsageError
from millrace.load.options import LoadOptions
from millrace.load.plan import LoadPlan
from millrace.load.planning import make_plan
from millrace.load.reject_version import READING_KEY, schema_of_hex
from millrace.load.replay_source import ReplayFiles
from millrace.load.report import LoadReport
from millrace.load.split_result import SplitResult
from millrace.settings import Settings
from millrace.sources import REJECTS_ENDING, BadRowBudget, Contract, Reaction, SourceOptions, parse_type
from millrace.store import Catalogue, Version, VersionGraph

_ALL: Final = BadRowBudget(percent=100)
_LATEST: Final = Contract(columns=Reaction.DISCARD_ROW, types=Reaction.EVOLVE)


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """The result of a replay: the report of its load, or None if there was nothing to load.

    ``cut`` counts the rejects that cannot be replayed because their text is not complete, and ``unstored`` those that
    were only counted.
    """

    replayed: str
    message: str
    cut: int = 0
    unstored: int = 0
    load: LoadReport | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {**asdict(self), "load": self.load and self.load.to_json()}


def rejects_of(catalogue: Catalogue, version: Version) -> str:
    """Return the reference of the rejects that a replay of the version loads.

    Raises ``UsageError`` if the version names no rejects, or if the latest version does not hold its rows.
    """
    graph = VersionGraph(catalogue.all_versions(version.dataset))
    if version.dataset.endswith(REJECTS_ENDING):
        raise _of_rejects(version)
    kept = _kept_replay(graph, version.settings.get("replays", ""))
    if kept is not None and kept.label != version.label:
        raise UsageError(
            f"{version.reference} is a replay at the same moment as {kept.reference}, whose rows are kept in its place",
            hint=f"replay {kept.reference}",
            dataset=version.dataset,
            version=version.label,
        )
    facts = version.settings.get("rejects")
    if not facts or not facts["version"]:
        raise _nothing_rejected(version, graph, facts)
    latest = graph.latest
    if latest is None or not graph.contains(latest, version.label):
        replaced_by = "" if latest is None else f"; {version.dataset}@{latest.root} replaced them"
        raise UsageError(
            f"{version.reference} cannot be replayed: the latest version does not have its rows{replaced_by}",
            hint="load the source again with other types instead",
            dataset=version.dataset,
            version=version.label,
        )
    return f"{version.dataset}{REJECTS_ENDING}@{facts['version']}"


def _of_rejects(version: Version) -> UsageError:
    name = version.dataset.removesuffix(REJECTS_ENDING)
    facts = version.settings.get("rejects_of", {})
    if facts.get("failed"):
        return UsageError(
            f"{version.reference} has the rejects of a load that failed, and its good rows are in no version",
            hint=f"correct the types or --max-bad-rows, and load the source into {name} again",
            dataset=version.dataset,
            version=version.label,
        )
    return UsageError(
        f"{version.reference} is a version of rejects",
        hint=f"replay the version that names them: millrace replay {name}@VERSION",
        dataset=version.dataset,
        version=version.label,
    )


def _nothing_rejected(version: Version, graph: VersionGraph, facts: Mapping[str, Any] | None) -> UsageError:
    parts = [
        other.reference for other in graph.visible if other.label in version.merged and "rejects" in other.settings
    ]
    if parts:
        hint = f"replay the versions that it merged: {', '.join(parts)}"
    elif facts:
        hint = "its rejects were too large to be stored; load the source again"
    else:
        hint = f"millrace versions {version.dataset} shows the versions"
    message = "stored no rejected rows" if facts else "rejected nothing"
    return UsageError(f"{version.reference} {message}", hint=hint, dataset=version.dataset, version=version.label)


def earlier_replay(catalogue: Catalogue, version: Version) -> ReplayReport | None:
    """Return the report of a replay that was made before and whose rows are visible, or None."""
    replay = _kept_replay(VersionGraph(catalogue.all_versions(version.dataset)), version.label)
    if replay is None:
        return None
    left = (replay.settings.get("rejects") or {}).get("rows", 0)
    rest = f"replay {replay.reference} for the {left:,} rows that are left" if left else "nothing is left"
    return ReplayReport(version.reference, f"{version.reference} was replayed as {replay.reference}; {rest}")


def _kept_replay(graph: VersionGraph, label: str) -> Version | None:
    """Return the replay of the version of this label whose rows are visible, or None.

    Of concurrent replays a merge keeps the rows of the oldest one only, so the rejects of the others are not left.
    """
    replays = (other for other in reversed(graph.versions) if other.settings.get("replays") == label)
    return next((replay for replay in replays if graph.holder(replay.label) is not None), None)


def replay_run(version: Version) -> str:
    """Return the run of every replay of a version."""
    return f"replay-of-{version.dataset}-{version.label}"


def replay_plan(
    catalogue: Catalogue,
    settings: Settings,
    version: Version,
    files: ReplayFiles,
    reading: Mapping[str, Any],
    column_types: Sequence[tuple[str, str]],
    folder: Path,
) -> LoadPlan:
    """Return the plan of the append that loads the rows of ``files`` that fit.

    A column has the type that is given, else its type in the latest version. That version may have more columns than
    the rows, and rows with a value in another column do not fit.
    """
    options = _options(catalogue, version, reading, column_types, folder)
    load_options = LoadOptions(mode="append", source=options, bad_rows=_ALL, contract=_LATEST)
    run = replay_run(version)
    plan = make_plan(
        catalogue,
        settings,
        version.dataset,
        files.paths,
        load_options,
        run=run,
        one_stream=True,
        shown_as=f"rejects of {version.reference}",
    )
    fingerprint = hashlib.sha256(run.encode()).hexdigest()
    hexpart = hashlib.sha256(f"{run}\0{fingerprint}".encode()).hexdigest()[:6]
    return replace(plan, run=run, fingerprint=fingerprint, hex=hexpart, replays=version.label)


def _options(
    catalogue: Catalogue,
    version: Version,
    reading: Mapping[str, Any],
    column_types: Sequence[tuple[str, str]],
    folder: Path,
) -> SourceOptions:
    options = SourceOptions.from_json(reading["options"])
    latest = VersionGraph(catalogue.all_versions(version.dataset)).latest or version
    stored = catalogue.pages.schema(catalogue.with_content(latest))
    new_names = dict(options.rename)
    old_names = {new: name for name, new in options.rename}
    types = {old_names.get(field.name, field.name): str(decoded_type(field.type)) for field in stored}
    columns = None if options.columns is None else tuple(dict.fromkeys((*options.columns, *types)))
    for name, spelling in column_types:
        field = stored.field(name) if (name := new_names.get(name, name)) in stored.names else None
        if field is not None and widest_type([field.type, parse_type(spelling)]) is None:
            raise _other_type(version, latest, field, spelling)
    types = {name: spelling for name, spelling in types.items() if _is_given(spelling)} | dict(column_types)
    is_csv = reading["format"] == "csv"
    schema_file = _schema_file(folder, reading["schema_file"]) if is_csv and reading["schema_file"] else None
    return replace(
        options,
        format="csv" if is_csv else "jsonl",
        column_types=tuple(types.items()),
        columns=columns,
        schema_file=schema_file,
        records=None,
        encoding="utf-8",
        header=True,
        skip_rows=0,
    )


def _other_type(version: Version, latest: Version, field: pa.Field, spelling: str) -> SourceTypeError:
    return SourceTypeError(
        f"rejects of {version.reference} cannot be appended to {latest.reference}: column {field.name!r} is "
        f"{field.type} in the dataset and {spelling} in the source",
        hint=f"give {field.type}, or a type that holds its values",
        column=field.name,
        expected=str(field.type),
        actual=spelling,
    )


def _is_given(spelling: str) -> bool:
    """Return whether a stored type can be given by its spelling; other types are inferred from the rows."""
    try:
        return not pa.types.is_null(parse_type(spelling))
    except UsageError:
        return False


def _schema_file(folder: Path, schema: str) -> str:
    path = folder / "schema.arrow"
    path.write_bytes(schema_of_hex(schema).serialize().to_pybytes())
    return str(path)


def reading_of(catalogue: Catalogue, rejects: Version) -> dict[str, Any]:
    """Return the format, options and columns with which rejected rows are read again."""
    metadata = catalogue.pages.schema(catalogue.with_content(rejects)).metadata or {}
    reading: dict[str, Any] = json.loads(metadata[READING_KEY])
    return reading


def check_any_fits(version: Version, result: SplitResult) -> None:
    """Raise ``BadRowsError`` if none of the rejected rows fits; no version is made, and they can be tried again."""
    if result.rows:
        return
    reasons = () if result.rejects is None else result.rejects.reasons
    raise BadRowsError(
        f"none of the rows that {version.reference} rejected fits; the first: {'; '.join(reasons)}",
        hint="give the types that they have: --column-type COLUMN=TYPE",
        dataset=version.dataset,
        version=version.label,
        reasons=list(reasons),
    )
