"""Planning of a source: find its files, format, schema and splits once, before any of it is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from millrace.errors import UsageError
from millrace.sources.bytes.reader import BYTES_SCHEMA
from millrace.sources.csv.planner import plan_csv
from millrace.sources.detection.detect import detect_format
from millrace.sources.io.path_lists import shown
from millrace.sources.jsonl.planner import plan_jsonl
from millrace.sources.model import SourceFile, SourcePlan
from millrace.sources.options import AUTO, SourceOptions
from millrace.sources.planning.partitions import partition_warnings
from millrace.sources.planning.plan_columns import plan_arrow, plan_parquet
from millrace.sources.planning.python_data import ArrowCopy
from millrace.sources.splits import Unit, plan_of_units
from millrace.sources.table_options import refuse_csv_options, refuse_projection, renamed
from millrace.sources.types import refuse_nulls, refuse_types
from millrace.sources.warnings import SourceWarning

__all__ = ["Source", "plan_source"]

Source = str | Sequence[str] | ArrowCopy

_PLANNERS = {"csv": plan_csv, "jsonl": plan_jsonl, "parquet": plan_parquet, "arrow": plan_arrow}
_DEFAULTS = SourceOptions()


def plan_source(source: Source, options: SourceOptions = _DEFAULTS, *, max_splits: int | None = None) -> SourcePlan:
    """Plan a source: find its files, format and schema, and the parts in which it can be read.

    ``source`` is a path, a ``file://`` address, a directory, a pattern (``*``, ``?``, ``[``, ``**``), or ``-`` for
    standard input; a list of any of these except ``-``; or a copy of Arrow data, whose name becomes the address.
    ``max_splits`` overrides the option; with 1 there are no parts and so no scan for their boundaries. Reads at most
    ``infer_bytes`` to infer types, and an uncompressed CSV or JSON lines file once to find where its splits begin.
    Raises a ``SourceError`` for a source that cannot be loaded, ``UsageError`` for options that do not apply to it.
    """
    if max_splits is not None:
        options = replace(options, max_splits=max_splits)
    if isinstance(source, ArrowCopy):
        return _plan_copy(source, options)
    uri = source[0] if not isinstance(source, str) and len(source) == 1 else source
    said = options
    format_, listing, options = detect_format(uri, said)
    unused = _unused(said, format_)
    if unused and format_ == "bytes":
        raise UsageError(unused[0].message, hint="leave it out, or give --format csv")
    planner = _plan_bytes if format_ == "bytes" else _PLANNERS[format_]
    plan = planner(shown(uri), listing.files, options)
    partitions = partition_warnings(listing.files, plan.schema.names) if plan.kind == "table" else []
    warnings = (*unused, *listing.warnings, *partitions, *plan.warnings)
    return replace(plan, schema=renamed(options, plan.schema), warnings=warnings, single_file=listing.shape == "file")


def _plan_copy(copy: ArrowCopy, options: SourceOptions) -> SourcePlan:
    if options.format not in (None, "arrow"):
        raise UsageError(f"{copy.name} is Arrow data, and cannot be read as {options.format}", hint="give no format")
    plan = plan_source(copy.path, replace(options, format="arrow"))
    return replace(plan, uri=copy.name, warnings=(*copy.warnings, *plan.warnings))


def _unused(said: SourceOptions, format_: str) -> list[SourceWarning]:
    """Return warnings for given options that this format does not have."""
    unused = {
        "--delimiter": said.delimiter not in (None, AUTO) and format_ != "csv",
        "--encoding": bool(said.encoding) and format_ not in ("csv", "jsonl"),
        "--no-header": not said.header and format_ != "csv",
    }
    return [
        SourceWarning("option_not_used", f"{option} changes nothing: the source is read as {format_}")
        for option, is_unused in unused.items()
        if is_unused
    ]


def _plan_bytes(uri: str, files: tuple[SourceFile, ...], options: SourceOptions) -> SourcePlan:
    refuse_types(options, "bytes")
    refuse_nulls(options, "bytes")
    refuse_csv_options(options, "bytes")
    refuse_projection(options, "bytes")
    units: list[Unit] = []
    step = max(options.piece_bytes, options.split_bytes // options.piece_bytes * options.piece_bytes)
    for number, file in enumerate(files):
        if file.size_bytes <= step or options.max_splits == 1:
            units.append(Unit(number, 0, -1, file.size_bytes))
            continue
        for start in range(0, file.size_bytes, step):
            stop = min(start + step, file.size_bytes)
            units.append(Unit(number, start, stop, stop - start))
    return plan_of_units("bytes", uri, files, options, BYTES_SCHEMA, units, "bytes", "bytes")
