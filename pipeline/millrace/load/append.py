"""Check an append: the same columns, types that source and dataset can share, and no changed value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pyarrow as pa

from millrace.arrow import decoded_type, holds_pair, is_text, wider_type
from millrace.errors import MillraceError, SourceTypeError
from millrace.load.exact import check_exact
from millrace.load.repeats import check_paths
from millrace.names import VersionSelector, column_type_option
from millrace.sources import STANDARD_INPUT, SourcePlan, SourceWarning, merge_schemas, plan_source
from millrace.store import Catalogue, Version


def selector_of(label: str) -> VersionSelector:
    """Return the selector of a full version label."""
    number, _, hexpart = label.partition("-")
    return VersionSelector(full=(int(number), hexpart))


def common_schema(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """Return the schema of the rows of all versions and loads; the columns of each begin with those of a shorter one.

    A column that some of them lack may be null. Raises ``SourceTypeError`` if their columns differ otherwise, or if
    types have no common one.
    """
    longest = max(schemas, key=len)
    for schema in schemas:
        if other := next((pair for pair in zip(schema.names, longest.names, strict=False) if pair[0] != pair[1]), None):
            raise SourceTypeError(
                f"one has column {other[0]!r} where the other has {other[1]!r}",
                expected=longest.names,
                actual=schema.names,
            )
    lacking = [pa.field(field.name, pa.null()) for field in longest]
    filled = [pa.schema([*schema, *lacking[len(schema) :]], schema.metadata) for schema in schemas]
    return merge_schemas(filled)


def _fit(have: pa.Schema, source: SourcePlan) -> bool:
    """Return whether the source has the dataset's columns; with a contract it may have more or fewer at the end."""
    common = min(len(have), len(source.schema)) if source.may_lack_columns else None
    return bool(have.names[:common] == source.schema.names[:common])


def as_stored(catalogue: Catalogue, dataset: str, parent: str, source: SourcePlan) -> SourcePlan:
    """Return the plan of a CSV with type text for all-null columns whose stored column is text.

    Such a column holds only spellings of null. They then mean the same whether the rows come together with the earlier
    ones or later. In the opposite case the stored column is all null and the new one is text. The stored spellings of
    null are no longer known, so a warning reports that the stored rows stay null.
    """
    if source.format != "csv" or source.may_lack_columns:
        return source
    version = catalogue.resolve(dataset, selector_of(parent))
    have = catalogue.pages.schema(version)
    if have.names != source.schema.names:
        return source
    schema, warnings = source.schema, []
    for index, (stored, field) in enumerate(zip(have, schema, strict=True)):
        if pa.types.is_null(field.type) and is_text(decoded_type(stored.type)):
            schema = schema.set(index, field.with_type(pa.string()))
        elif pa.types.is_null(stored.type) and is_text(field.type):
            message = (
                f"column {field.name!r} becomes text; in {version.reference} each of its values was empty or a "
                "spelling of null, and stays null"
            )
            warnings.append(SourceWarning("null_before", message, field.name))
    return replace(source, schema=schema, warnings=(*source.warnings, *warnings))


def check_append(catalogue: Catalogue, dataset: str, parent: str, source: SourcePlan) -> None:
    """Raise ``SourceTypeError`` unless the source has the dataset's columns, with types that both can share.

    A source with a contract may have more or fewer columns at the end.

    No stored value may change. Raises ``SourceFormatError`` for a path that a dataset of files holds already.
    """
    version = catalogue.resolve(dataset, selector_of(parent))
    have = catalogue.pages.schema(version)
    if version.kind != source.kind or not _fit(have, source):
        raise SourceTypeError(
            f"{source.uri} cannot be appended to {version.reference}: its columns are "
            f"{', '.join(source.schema.names)}, those of the dataset {', '.join(have.names)}",
            hint="load it with --mode replace, or under another name",
            dataset=dataset,
            expected=have.names,
            actual=source.schema.names,
        )
    if source.kind == "bytes":
        check_paths(catalogue, version, (file.name for file in source.files))
    # A text source has no types, so integers and doubles may mix as pyarrow infers them; declared types are exact.
    # With a contract they may become doubles, and ``check_exact`` refuses those that would change.
    exact = source.format in ("parquet", "arrow") and not source.may_lack_columns
    for stored, new in zip(have, source.schema, strict=not source.may_lack_columns):
        if wider_type(stored.type, new.type, exact=exact) is None:
            raise _refused(version, stored, new, source)
    subject = f"{source.uri} cannot be appended to {version.reference}"
    check_kept(catalogue, version, common_schema([have, source.schema]), subject)


def check_kept(catalogue: Catalogue, version: Version, wide: pa.Schema, subject: str) -> None:
    """Raise ``SourceTypeError`` if a value of the version would change in the types of ``wide``."""
    have = catalogue.pages.schema(version)
    for field in have:
        if _dates_become_timestamps(field.type, wide.field(field.name).type):
            raise SourceTypeError(
                f"{subject}: column {field.name!r} has dates and would become {wide.field(field.name).type}",
                hint="load it as another dataset, or load the whole dataset again with "
                f"{column_type_option(field.name, 'timestamp[s]')} (CSV, JSON lines)",
                column=field.name,
                expected=str(field.type),
                actual=str(wide.field(field.name).type),
            )
    check_exact(catalogue, version.dataset, partial(catalogue.pages.refs, version), version.layout, have, wide, subject)


def _dates_become_timestamps(narrow: pa.DataType, wide: pa.DataType) -> bool:
    """Return whether dates anywhere in the type become midnights, as they do within one source alone."""
    return holds_pair(narrow, wide, lambda stored, target: pa.types.is_date32(stored) and pa.types.is_timestamp(target))


def _refused(version: Version, stored: pa.Field, new: pa.Field, source: SourcePlan) -> SourceTypeError:
    name = next((old for old, renamed in source.options.rename if renamed == stored.name), stored.name)
    fits = _loads_as(name, stored.type, source)
    option = column_type_option(name, str(stored.type))
    return SourceTypeError(
        f"{source.uri} cannot be appended to {version.reference}: column {stored.name!r} is {stored.type} in the "
        f"dataset and {new.type} in the source",
        hint=f"give its type in the dataset: {option}" if fits else "load it as another dataset",
        dataset=version.dataset,
        column=stored.name,
        expected=str(stored.type),
        actual=str(new.type),
    )


def _loads_as(name: str, kind: pa.DataType, source: SourcePlan) -> bool:
    """Return whether the source can be planned with the type that its column has in the dataset."""
    given = dict(source.options.column_types)
    if source.format not in ("csv", "jsonl", "json") or source.uri == STANDARD_INPUT or name in given:
        return False
    types = (*source.options.column_types, (name, str(kind)))
    try:
        options = replace(source.options, column_types=types, format=source.format)
        plan_source([file.uri for file in source.files], options, max_splits=1)
    except MillraceError:
        return False
    return True
