"""Decide once how a load is done: source, schema, chunk settings and the label of its version."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pyarrow as pa

from millrace.chunks import ChunkSettings, RowGrouper, choose_row_group_bytes
from millrace.errors import InvalidNameError, InvalidSettingError
from millrace.load.append import as_stored, check_append
from millrace.load.checks import check_not_derived
from millrace.load.evolution import agreement_of, check_kind, planned_layout, schema_changes
from millrace.load.file_selection import Selection, check_limits, parsing_digest, select_files
from millrace.load.identity import fingerprints_of
from millrace.load.options import MODES, LoadOptions
from millrace.load.plan import LoadPlan
from millrace.load.repeats import check_same_content
from millrace.names import check_dataset_name, check_run
from millrace.settings import Settings
from millrace.sources import (
    NAME_WITH_REJECTS_MAX,
    REJECTS_ENDING,
    ArrowCopy,
    RowRules,
    Source,
    SourcePlan,
    check_below_roots,
    open_split,
    plan_source,
    short_list,
)
from millrace.store import Catalogue, Version, VersionGraph

_SAMPLE_BYTES = 16_000_000


def make_plan(
    catalogue: Catalogue,
    settings: Settings,
    dataset: str,
    given: Source,
    options: LoadOptions,
    *,
    run: str,
    one_stream: bool = False,
    shown_as: str = "",
    derived: bool = False,
) -> LoadPlan:
    """Make the plan of a load without writing anything.

    With ``one_stream`` the plan has one split, which is the whole source, and is otherwise the same plan. ``shown_as``
    is the name of the source in errors and in the version, if its address means nothing to a user. ``derived`` allows
    a dataset that is made from others, such as a model. Raises ``UsageError`` or ``SourceError`` for a source or
    options that cannot be loaded.
    """
    check_dataset_name(dataset)
    contract = options.contract
    _check_reject_names(dataset, RowRules.of(options.bad_rows, contract))
    check_run(run)
    if options.mode not in MODES:
        raise InvalidSettingError(f"the mode is {options.mode!r}", hint=f"use one of {', '.join(MODES)}")
    chunks = ChunkSettings(
        codec=settings.load.codec if options.codec is None else options.codec,
        codec_level=settings.load.codec_level if options.codec_level is None else options.codec_level,
        chunk_bytes=settings.load.chunk_bytes if options.chunk_bytes is None else options.chunk_bytes,
    )
    # One read of the versions, so that the files are selected by the list of the version that becomes the parent.
    graph = VersionGraph(catalogue.all_versions(dataset))
    latest = graph.latest
    if not derived:
        check_not_derived(graph)
    parsing = parsing_digest(options, chunks)
    selection = select_files(catalogue, graph, given, options, parsing)
    if selection.unchanged and latest is not None:
        return _unchanged(catalogue, graph, latest, selection, given, options.mode, run, chunks)
    agreement = agreement_of(catalogue, latest, contract)
    rules = RowRules(options.bad_rows) if agreement is None else agreement.rules(options.bad_rows)
    # Finding where the splits of a plain CSV begin reads all of it: 5 to 10 % of its load.
    source = plan_source(
        given,
        selection.options,
        max_splits=1 if one_stream else None,
        listing=selection.listing,
        rules=rules,
        agreement=agreement,
    )
    source = replace(source, uri=shown_as or source.uri)
    if selection.listing is None:
        check_limits(source.uri, source.files, options)
    if options.roots is not None:
        check_below_roots(source.files, options.roots)
    if contract is not None:
        check_kind(latest, source)
    source = replace(source, options=replace(source.options, max_splits=options.source.max_splits))
    chunks = replace(chunks, kind=source.kind)
    chunks = replace(chunks, row_group_bytes=choose_row_group_bytes(_sample(source), chunks))
    layout = planned_layout(latest if options.mode != "replace" else None, source)
    fingerprints = fingerprints_of(source, chunks, layout, options)
    fingerprint = fingerprints.plan
    identity = hashlib.sha256(f"{run}\0{fingerprints.load}".encode()).hexdigest()[:6]
    published, holder = graph.published(identity, run) or (None, None)
    if published is not None:
        check_same_content(source, published)
        parent, number = published.parent, published.number
    else:
        parent = None if latest is None else latest.label
        # If another load has published the begun number meanwhile, a version with it would not be the latest.
        number = max(_begun(catalogue, dataset, run, fingerprint), graph.next_number)
        if options.mode != "replace" and latest is not None:
            # The plan's identity is that of the source alone, because its next attempt may append to another version.
            source = as_stored(catalogue, dataset, latest.label, source)
            check_append(catalogue, dataset, latest.label, source)
    return LoadPlan(
        dataset=dataset,
        mode=options.mode,
        run=run,
        number=number,
        hex=identity,
        parent=parent,
        fingerprint=fingerprint,
        source=source,
        chunks=chunks,
        layout=layout,
        published=published is not None,
        holder="" if holder is None else holder.label,
        parsing=parsing,
        schema_changes=schema_changes(agreement.schema, source.schema) if agreement and agreement.schema.names else (),
    )


def _unchanged(
    catalogue: Catalogue,
    graph: VersionGraph,
    latest: Version,
    selection: Selection,
    given: Source,
    mode: str,
    run: str,
    chunks: ChunkSettings,
) -> LoadPlan:
    """Return the plan of a load without anything to load. No file was opened for it, unless its facts had changed.

    If the same run has published a version before, the plan is that of this version.
    """
    hexparts = dict.fromkeys(version.hex for version in graph.versions if version.run == run)
    published, holder = next(filter(None, (graph.published(own, run) for own in hexparts)), (None, None))
    version = published or latest
    files = () if selection.listing is None else selection.listing.files
    source = SourcePlan(
        uri="" if isinstance(given, ArrowCopy) else short_list(given),
        format=str(version.source.get("format", "")),
        kind="bytes" if latest.kind == "bytes" else "table",
        schema=catalogue.pages.schema(catalogue.with_content(latest)),
        files=(),
        splits=(),
        total_bytes=sum(file.size_bytes for file in files),
        total_rows=None,
        options=selection.options,
    )
    return LoadPlan(
        dataset=latest.dataset,
        mode=mode,
        run=run,
        number=version.number,
        hex=version.hex,
        parent=version.parent,
        fingerprint="",
        source=source,
        chunks=chunks,
        layout=latest.layout,
        published=published is not None,
        holder=latest.label if holder is None else holder.label,
        unchanged=published is None,
    )


def _check_reject_names(dataset: str, rules: RowRules) -> None:
    """Raise ``InvalidNameError`` for the name of a dataset of rejects, and for one too long to have rejects."""
    if dataset.endswith(REJECTS_ENDING):
        raise InvalidNameError(
            f"the dataset name {dataset!r} ends in {REJECTS_ENDING}",
            hint="this ending is reserved for rejected rows; choose another name",
            dataset=dataset,
        )
    if rules.sets_aside and len(dataset) > NAME_WITH_REJECTS_MAX:
        raise InvalidNameError(
            f"the dataset name {dataset!r} has {len(dataset)} characters, and bad rows are set aside in a dataset "
            f"whose name is {len(REJECTS_ENDING)} characters longer",
            hint=f"use at most {NAME_WITH_REJECTS_MAX} characters, or leave out --max-bad-rows",
            dataset=dataset,
        )


def _begun(catalogue: Catalogue, dataset: str, run: str, fingerprint: str) -> int:
    """Return the version number that an earlier attempt of this load planned, else 0.

    With it a retry is the same version.
    """
    labels = [row.version for row in catalogue.attempts(dataset, run=run) if row.fingerprint == fingerprint]
    return int(labels[0].partition("-")[0]) if labels else 0


def _sample(source: SourcePlan) -> pa.RecordBatch:
    """Return the first rows of the source, from which the size of row groups is chosen once for the whole load."""
    grouper = RowGrouper(ChunkSettings(row_group_bytes=_SAMPLE_BYTES))
    if source.splits:
        with open_split(source, source.splits[0], preview=True) as reader:
            # The grouper widens types within the sample: a wider value may follow the bytes used for inference.
            for batch in reader:
                for group in grouper.feed(batch):
                    return group.to_batch()
    for group in grouper.finish():
        return group.to_batch()
    # pa.array([], type) does not know unions, pa.nulls(0, type) knows every type.
    return pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in source.schema], schema=source.schema)
