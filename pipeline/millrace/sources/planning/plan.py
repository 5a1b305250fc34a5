"""Planning of a source: find its files, format, schema and splits once, before any of it is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from millrace.errors import SourceFormatError, UsageError
from millrace.sources.agreement import Agreement
from millrace.sources.detection.detect import detect_format
from millrace.sources.io.files import ListedFiles
from millrace.sources.io.path_lists import short_list
from millrace.sources.io.stdin import STANDARD_INPUT
from millrace.sources.model import SourceFile, SourcePlan
from millrace.sources.options import SourceOptions
from millrace.sources.planning.option_checks import refuse_options, unused_option_warnings
from millrace.sources.planning.partitions import partition_warnings
from millrace.sources.planning.python_data import ArrowCopy
from millrace.sources.row_rules import NO_RULES, RowRules
from millrace.sources.source_format import Format
from millrace.sources.table_columns import renamed

Source = str | Sequence[str] | ArrowCopy

_DEFAULTS = SourceOptions()


def plan_source(
    source: Source,
    options: SourceOptions = _DEFAULTS,
    *,
    max_splits: int | None = None,
    listing: ListedFiles | None = None,
    rules: RowRules = NO_RULES,
    agreement: Agreement | None = None,
) -> SourcePlan:
    """Plan a source: find its files, format and schema, and the parts in which it can be read.

    ``source`` is a path, a ``file://`` address, a directory, a pattern (``*``, ``?``, ``[``, ``**``), an ``s3://``,
    ``gs://`` or ``https://`` address, or ``-`` for standard input. It may be a list of these, without ``-``. A copy of
    Arrow data is also a source, with its name as the address. ``max_splits`` overrides the option. With 1 the source is
    one split, and no boundaries are searched. ``listing`` has the files if they are listed already. ``rules`` are the
    reactions to rows that do not fit. With ``agreement`` the source must fit the schema of the latest version, and the
    plan has its columns first.

    Reads at most ``infer_bytes`` to infer types, and an uncompressed CSV or JSON lines file once to find where its
    splits begin. Raises a ``SourceError`` for a source that cannot be loaded, ``UsageError`` for options that do not
    apply to it.
    """
    if max_splits is not None:
        options = replace(options, max_splits=max_splits)
    if isinstance(source, ArrowCopy):
        return _plan_copy(source, options, rules, agreement)
    uri = source[0] if not isinstance(source, str) and len(source) == 1 else source
    format_, listing, in_force = detect_format(uri, options, listing)
    unused = unused_option_warnings(options, format_)
    if unused and format_.name == "bytes":
        raise UsageError(unused[0].message, hint="leave it out, or give --format csv")
    refuse_options(options, format_)
    if agreement is not None:
        agreement = agreement.before_rename(options)
        agreement.check_selection(options)
    in_force = _for_inputs(in_force, listing.files, format_)
    plan = format_.plan(short_list(uri), listing.files, in_force, rules, agreement)
    partitions = partition_warnings(listing.files, plan.schema.names) if plan.kind == "table" else []
    warnings = (*unused, *listing.warnings, *partitions, *plan.warnings)
    return replace(
        plan,
        schema=renamed(options, plan.schema),
        warnings=warnings,
        single_file=listing.shape == "file",
        rules=rules,
        agreed=0 if agreement is None else len(agreement.schema),
    )


def _for_inputs(options: SourceOptions, files: Sequence[SourceFile], format_: Format) -> SourceOptions:
    """Return the options for files of which some may be bodies that are read front to back: then there is one split.

    Raises ``SourceFormatError`` for a format whose files are not read front to back.
    """
    body = next((file for file in files if not file.has_ranges and file.uri != STANDARD_INPUT), None)
    if body is None:
        return options
    if format_.magic:
        raise SourceFormatError(
            f"{body.uri} cannot be read as {format_.label}: its server does not answer requests for ranges of bytes"
            f"{'' if body.facts.show_changes else ', or names neither an ETag nor a time of change'}",
            hint="download it, and load the copy",
            file=body.uri,
        )
    return replace(options, max_splits=1)


def _plan_copy(copy: ArrowCopy, options: SourceOptions, rules: RowRules, agreement: Agreement | None) -> SourcePlan:
    if options.format not in (None, "arrow"):
        raise UsageError(f"{copy.name} is Arrow data, and cannot be read as {options.format}", hint="give no format")
    plan = plan_source(copy.path, replace(options, format="arrow"), rules=rules, agreement=agreement)
    return replace(plan, uri=copy.name, is_copy=True, warnings=(*copy.warnings, *plan.warnings))
