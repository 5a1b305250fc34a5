"""Read a source of any size, named by a URI, as a stream of record batches in bounded memory.

``plan_source`` inspects the source once and fixes files, format, schema and splits. ``open_split`` reads one split, in
any process. ``open_source`` reads all splits as one stream. ``restore_bytes`` writes a bytes dataset as files again.

These rules apply to every source:

* Files are read in byte order of their relative paths. The paths of a list are read in the order of the list. Rows are
  read in the order of their file.
* A table leaves out hidden files: a part of their relative path begins with "." or "_". A warning reports them, except
  markers (``_SUCCESS``). The format bytes keeps every file and every empty folder.
* A folder within a table of Delta, Iceberg, Hudi or a Spark stream cannot be loaded as a table. Only the log of such a
  table lists its files.
* A link must lead to a target within the source's folder, or within the part of a pattern before its first wildcard. A
  link to a target outside, or to a folder above the link, is refused.
* The first bytes of a file determine its compression. A file whose name denotes another one is refused.
* All files of a folder must have one format.
* The types of CSV and JSON lines are inferred from ``infer_bytes``, which all files share. Each file contributes the
  records at its beginning. In later rows nulls may widen to any type, and integers to doubles. Any other change of type
  is refused, with its line and the option that fixes it.
* CSV has the values that ``pyarrow.csv.read_csv`` gives. Line ends are allowed in quotes, blank lines are not rows, and
  quoted values can be null.
* CSV differs from ``read_csv`` for a column that has only nulls within ``infer_bytes``, and text later. The default
  spellings of null are nulls in all its rows, because the spellings in the earlier rows are no longer known.
* ``columns`` and ``rename`` apply to every table. Columns that are left out are not checked. Given types refer to
  columns by their names in the source.
* JSON lines have one object in each line. A column with the given type ``string`` takes any value as its JSON text.
* A file that changed since it was planned, or changes while it is read, is refused.
"""

from millrace.sources.bytes.format import BYTES_SCHEMA
from millrace.sources.bytes.restore import restore_bytes
from millrace.sources.io.address import WILDCARDS, Address, address_of, local_path
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
