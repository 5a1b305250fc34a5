"""Measure a load without writing it: the source is read, grouped and encoded as in a load, and then only counted."""

from __future__ import annotations

from collections import Counter

from millrace.load.columns import reported_columns
from millrace.load.encoding import encoded_chunks
from millrace.load.plan import LoadPlan
from millrace.load.rejects import RejectResult
from millrace.load.report import LoadReport
from millrace.load.report_parts import SourceFacts
from millrace.load.split import task_unit
from millrace.progress import ProgressTask
from millrace.settings import Settings
from millrace.sources import distinct, merge_schemas, open_source


def measure(settings: Settings, plan: LoadPlan, *, task: ProgressTask) -> LoadReport:
    """Return the report that loading ``plan`` would give, as far as it is known without writing.

    ``replicas`` is the number that a load proves if both nodes respond. Memory and errors are those of ``load_split``.
    """
    by_rows = task_unit(plan, None)[0] == "rows"
    totals = Counter(rows=0, raw_bytes=0, stored_bytes=0, chunks=0)
    task.phase("encode")
    with open_source(plan.source) as reader:
        for chunk in encoded_chunks(plan, reader, threads=settings.load.encode_threads):
            totals.update(rows=chunk.rows, raw_bytes=chunk.raw_bytes, stored_bytes=chunk.stored_bytes, chunks=1)
            task.advance_to(totals["rows"] if by_rows else reader.bytes_read)
            task.count(chunks=1, bytes_raw=chunk.raw_bytes, bytes_stored=chunk.stored_bytes)
        schema = merge_schemas([plan.schema, reader.schema])
        rejects = RejectResult.of(reader.rejects)
    return LoadReport(
        dataset=plan.dataset,
        version=plan.label,
        run=plan.run,
        mode=plan.mode,
        kind=plan.source.kind,
        parent=plan.parent,
        rows=totals["rows"],
        total_rows=totals["rows"],
        raw_bytes=totals["raw_bytes"],
        stored_bytes=totals["stored_bytes"],
        chunks=totals["chunks"],
        replicas=settings.cassandra.replication_factor,
        under_replicated=0,
        retries=0,
        splits=1,
        source=plan.source.uri,
        source_facts=SourceFacts.of(plan.source.facts()),
        warnings=distinct(plan.source.warnings),
        columns=reported_columns(schema),
        columns_total=len(schema),
        schema_changes=plan.schema_changes,
        rejected=rejects.bad,
        discarded_rows=rejects.discarded_rows,
        discarded_values=rejects.discarded_values,
    )
