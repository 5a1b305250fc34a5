"""A URI becomes a stream of record batches whose memory is bounded, whatever the size of the source.

``plan_source`` looks once and fixes files, format, schema and splits; ``open_split`` reads one split, in any
process; ``open_source`` reads all of them as one stream; ``restore_bytes`` turns a bytes dataset back into files.

What holds for every source:

* Files come in byte order of their relative paths, rows in the order of their file. Tables leave out files whose
  path has a part that begins with "." or "_", and a warning names them unless they are markers (``_SUCCESS``); bytes
  keep every file and every empty folder.
* A folder within a table of Delta, Iceberg, Hudi or a Spark stream is refused as a table: only a log knows its files.
* Links are followed within the folder or the fixed part of the pattern; one that leads out or back is refused.
* The first bytes of a file say how it is compressed, and a name may not deny what it is. One folder holds one format.
* Types of CSV and JSON lines are found in the first ``infer_bytes``, shared among the starts of all files. Later
  nulls become anything and integers doubles; any other change is refused with its line and the option that mends it.
* CSV is what ``pyarrow.csv.read_csv`` makes of it, with line ends in quotes: blank lines are no rows, and quoted
  values can be null. One thing differs: a column that held only nulls in the first ``infer_bytes`` and turns to text
  later keeps the default spellings of null as nulls, because what stood in its earlier rows is known no more.
* ``columns`` and ``rename`` are for every table: what is left out is not looked at, and given types name columns as the
  source does.
* JSON lines have one object in each line. A column that is given as ``string`` takes any value as its JSON text.
* A file that changed since it was planned, or changes while it is read, is refused.
"""

from __future__ import annotations

from millrace.sources.bytes_format import BYTES_SCHEMA
from millrace.sources.content import Content, read_content
from millrace.sources.given import Paths, Taken, as_paths, as_source
from millrace.sources.model import SourceFile, SourceOptions, SourcePlan, Split
from millrace.sources.plan import Source, plan_source
from millrace.sources.read import SplitReader, open_source, open_split
from millrace.sources.restore import restore_bytes
from millrace.sources.stdin import STANDARD_INPUT
from millrace.sources.types import merge_schemas, parse_type
from millrace.sources.warnings import SourceWarning, distinct

__all__ = [
    "BYTES_SCHEMA",
    "STANDARD_INPUT",
    "Content",
    "Paths",
    "Source",
    "SourceFile",
    "SourceOptions",
    "SourcePlan",
    "SourceWarning",
    "Split",
    "SplitReader",
    "Taken",
    "as_paths",
    "as_source",
    "distinct",
    "merge_schemas",
    "open_source",
    "open_split",
    "parse_type",
    "plan_source",
    "read_content",
    "restore_bytes",
]
