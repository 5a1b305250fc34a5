"""Reading of a source of any size, named by a URI, as a stream of record batches in bounded memory.

``plan_source`` inspects the source once and fixes files, format, schema and splits. ``open_split`` reads one split, in
any process. ``open_source`` reads all of them as one stream. ``restore_bytes`` turns a bytes dataset back into files.

These rules hold for every source:

* Files are read in byte order of their relative paths (a list of paths in its own order), and rows in the order of
  their file. A table leaves out files that have a part of their path beginning with "." or "_". A warning reports
  these, except markers (``_SUCCESS``). Bytes keep every file and every empty folder.
* A folder within a table of Delta, Iceberg, Hudi or a Spark stream is refused as a table. Only the log of such a table
  lists its files.
* Links are followed within the folder or the fixed part of the pattern. A link that leads out of it, or back to a
  folder above itself, is refused.
* The first bytes of a file determine its compression; a name that contradicts them is refused. All files of a folder
  must have one format.
* Types of CSV and JSON lines are inferred from ``infer_bytes``, which are divided among the beginnings of all files. In
  later rows nulls may widen to any type, and integers to doubles. Any other change is refused with its line and the
  option that fixes it.
* CSV has the values that ``pyarrow.csv.read_csv`` gives. Line ends are allowed in quotes, blank lines are not rows, and
  quoted values can be null. There is one difference. A column may contain only nulls in ``infer_bytes`` and text later.
  The default spellings of null then remain nulls, because the spellings in the earlier rows are no longer known.
* ``columns`` and ``rename`` apply to every table. Columns that are left out are not checked. Given types refer to
  columns by their names in the source.
* JSON lines have one object in each line. A column with the given type ``string`` takes any value as its JSON text.
* A file that changed since it was planned, or changes while it is read, is refused.

``SourceOptions`` is imported at once and without pyarrow. The other names are imported when one of them is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from millrace.sources.options import SourceOptions as SourceOptions

if TYPE_CHECKING:
    from millrace.sources.exports import *  # noqa: F403
else:

    def __getattr__(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module("millrace.sources.exports"), name)
