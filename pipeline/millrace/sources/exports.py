"""The names of this room that other rooms import."""

from millrace.sources.agreement import Agreement
from millrace.sources.bytes.format import BYTES_SCHEMA
from millrace.sources.bytes.restore import restore_bytes
from millrace.sources.io.address import WILDCARDS, Address, address_of, local_path
from millrace.sources.io.allowed import allowed_source, check_below_roots
from millrace.sources.io.files import ListedFiles
from millrace.sources.io.inputs import count_body
from millrace.sources.io.local_files import walk
from millrace.sources.io.path_lists import list_each, short_list
from millrace.sources.io.remote.connections import SourceConnection, connection_of, register_connections
from millrace.sources.io.source_checksum import SourceChecksum, pack_checksums, read_content, unpack_checksums
from millrace.sources.io.stdin import STANDARD_INPUT
from millrace.sources.model import FileFacts, SourceFile, SourcePlan, Split
from millrace.sources.options import SourceOptions
from millrace.sources.planning.plan import Source, plan_source
from millrace.sources.planning.python_data import ArrowCopy
from millrace.sources.planning.source_arguments import Paths, SourceLike, as_paths, as_source
from millrace.sources.read import SplitReader, open_source, open_split
from millrace.sources.reject_log import REJECT_SCHEMA, REJECTS_BYTES_MAX, RejectLog, RejectOrigins, over_budget
from millrace.sources.text.whole_numbers import WHOLE_MAX, rounded
from millrace.sources.types import load_schema_file, merge_schemas, parse_column_type, parse_type
from millrace.sources.warnings import SourceWarning, distinct

__all__ = [
    "Address",
    "Agreement",
    "ArrowCopy",
    "BYTES_SCHEMA",
    "FileFacts",
    "ListedFiles",
    "Paths",
    "REJECTS_BYTES_MAX",
    "REJECT_SCHEMA",
    "RejectLog",
    "RejectOrigins",
    "STANDARD_INPUT",
    "Source",
    "SourceChecksum",
    "SourceConnection",
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
    "check_below_roots",
    "connection_of",
    "count_body",
    "distinct",
    "list_each",
    "load_schema_file",
    "local_path",
    "merge_schemas",
    "open_source",
    "open_split",
    "over_budget",
    "pack_checksums",
    "parse_column_type",
    "parse_type",
    "plan_source",
    "read_content",
    "register_connections",
    "restore_bytes",
    "rounded",
    "short_list",
    "unpack_checksums",
    "walk",
]
