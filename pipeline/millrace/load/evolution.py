"""Versions with columns that older chunks lack: the agreement of a load, its layout, and the schemas of merges.

A new column has tiles of its own behind the others. So the columns and tiles of one version begin with those of the
other one, or the rows of both cannot be in one version.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from millrace.chunks import TileLayout
from millrace.errors import ChunkError, SourceTypeError, StoreError
from millrace.load.append import selector_of
from millrace.sources import Agreement, Contract, SourcePlan
from millrace.store import Catalogue, Version

EVOLVED_FORMAT = 2
"""The format number of a version with a list of loaded files, or whose older chunks may have fewer tiles."""
MATRIX_FORMAT = 3
"""The format number of a version with tiles that are matrices."""


def agreement_of(catalogue: Catalogue, latest: Version | None, contract: Contract | None) -> Agreement | None:
    """Return the schema of the latest version with the contract; None for a load without a contract."""
    if contract is None:
        return None
    if latest is None or latest.kind != "table":
        return Agreement(pa.schema([]), contract, "")
    version = catalogue.resolve(latest.dataset, selector_of(latest.label))
    return Agreement(catalogue.pages.schema(version), contract, version.reference)


def check_kind(latest: Version | None, source: SourcePlan) -> None:
    """Raise ``SourceTypeError`` if a load with a contract would put a table in place of files, or the reverse."""
    if latest is not None and latest.kind != source.kind:
        raise SourceTypeError(
            f"{source.uri} is of the kind {source.kind}, and {latest.reference} of the kind {latest.kind}",
            hint="load it as another dataset",
            dataset=latest.dataset,
            expected=latest.kind,
            actual=source.kind,
        )


def planned_layout(parent: Version | None, source: SourcePlan) -> TileLayout:
    """Return the layout of a load's chunks, which begins with that of the version to which it appends."""
    fits = parent is not None and parent.kind == source.kind and parent.layout.column_count <= len(source.schema)
    return parent.layout.extended(len(source.schema)) if parent and fits else TileLayout.for_schema(source.schema)


def common_layout(layouts: Sequence[TileLayout]) -> TileLayout:
    """Return the layout that begins with each of the others; raise ``SourceTypeError`` if there is none."""
    longest = max(layouts, key=lambda layout: layout.column_count)
    if not all(longest.begins_with(layout) for layout in layouts):
        raise SourceTypeError("they add different columns, so that their chunks have different tiles")
    return longest


def format_setting(layout: TileLayout, *bases: Version | None, has_files: bool = False) -> dict[str, Any]:
    """Return the setting ``format`` of a version with this layout and the chunks of ``bases``, if it needs one.

    The matrices of the layout are the setting ``matrices``. ``has_files``: the version has a list of loaded files.
    """
    if layout.matrices:
        return {"format": MATRIX_FORMAT, "matrices": sorted(layout.matrices)}
    is_evolved = any(base and (base.format_number >= EVOLVED_FORMAT or base.layout != layout) for base in bases)
    return {"format": EVOLVED_FORMAT} if has_files or is_evolved else {}


def schema_changes(before: pa.Schema, after: pa.Schema) -> tuple[str, ...]:
    """Return the differences from one schema to the other, one sentence each."""
    old = {field.name: field for field in before}
    new = {field.name: field for field in after}
    changes = []
    for name, field in new.items():
        if name not in old:
            changes.append(f"column {name!r} is new, with the type {field.type}")
            continue
        if field.type != old[name].type:
            changes.append(f"the type of column {name!r} changes from {old[name].type} to {field.type}")
        if field.nullable != old[name].nullable:
            changes.append(f"column {name!r} {'may be' if field.nullable else 'is never'} null now")
    changes += [f"column {name!r} is gone" for name in old if name not in new]
    if not changes and before.names != after.names:
        changes.append("the columns have another order")
    return tuple(changes)


def changes_since(catalogue: Catalogue, parent: str | None, version: Version) -> tuple[str, ...]:
    """Return the differences from the schema of the version's parent; none if one of them cannot be read."""
    if parent is None:
        return ()
    try:
        old, new = (catalogue.resolve(version.dataset, selector_of(label)) for label in (parent, version.label))
        return schema_changes(catalogue.pages.schema(old), catalogue.pages.schema(new))
    except (ChunkError, StoreError):
        return ()
