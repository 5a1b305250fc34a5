"""JSON documents as a format of sources: an array of objects in each file, read as JSON lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from millrace.sources.agreement import Agreement
from millrace.sources.io.source_checksum import ReadContent
from millrace.sources.io.streams import open_decompressed
from millrace.sources.json.text import DocumentFiles
from millrace.sources.jsonl.format import plan_lines
from millrace.sources.jsonl.reader import read_lines
from millrace.sources.model import FilePart, ReadBatch, SourceFile, SourcePlan
from millrace.sources.options import SourceOptions
from millrace.sources.reject_log import RejectLog
from millrace.sources.row_rules import RowRules
from millrace.sources.source_format import Format
from millrace.sources.splits import Unit


def _plan(
    uri: str, files: tuple[SourceFile, ...], options: SourceOptions, rules: RowRules, agreement: Agreement | None
) -> SourcePlan:
    """Plan JSON documents; each file is read whole."""
    text = DocumentFiles(files, options, open_decompressed)
    units = [Unit(number, 0, -1, file.size_bytes) for number, file in enumerate(files)]
    return plan_lines("json", uri, text, options, units, rules, agreement)


def _read(plan: SourcePlan, parts: list[FilePart], content: ReadContent, rejects: RejectLog) -> Iterator[ReadBatch]:
    """Yield batches of these files of a plan, front to back."""
    return read_lines(plan, parts, DocumentFiles(plan.files, plan.options, content.open_decompressed), rejects)


JSON: Final = Format("json", "JSON", _plan, _read)
"""JSON documents are read only where ``--format json`` is given: an array alone may also be the text of anything."""
