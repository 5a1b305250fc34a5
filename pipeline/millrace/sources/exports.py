"""The names of this room that other rooms import."""

from millrace.sources.bytes.format import BYTES_SCHEMA
from millrace.sources.bytes.restore import restore_bytes
from millrace.sources.io.address import WILDCARDS, Address, address_of, local_path
from millrace.sources.io.allowed import allowed_source
from millrace.sources.io.local_files import walk
from millrace.sources.io.source_checksum import SourceChecksum, read_content
from millrace.sources.io.stdin import STANDARD_INPUT
from millrace.sources.model import SourceFile, SourcePlan, Split
from millrace.sources.options import SourceOptions
from millrace.sources.planning.plan import Source, plan_source
from millrace.sources.planning.source_arguments import Paths, SourceLike, as_paths, as_source
from millrace.sources.read import SplitReader, open_source, open_split
from millrace.sources.text.whole_numbers import WHOLE_MAX, rounded
from millrace.sources.types import merge_schemas, parse_column_type, parse_type
from millrace.sources.warnings import SourceWarning, distinct

__all__ = [
    "Address",
    "BYTES_SCHEMA",
    "Paths",
    "STANDARD_INPUT",
    "Source",
    "SourceChecksum",
    "SourceFile",
    "SourceLike",
    "SourceOptions",
    "SourcePlan",
    "SourceWarning",
    "Split",
    "SplitReader",
    "WHOLE_MAX",
    "WILDCARDS",
    "address_of",
    "allowed_source",
    "as_paths",
    "as_source",
    "distinct",
    "local_path",
    "merge_schemas",
    "open_source",
    "open_split",
    "parse_column_type",
    "parse_type",
    "plan_source",
    "read_content",
    "restore_bytes",
    "rounded",
    "walk",
]
