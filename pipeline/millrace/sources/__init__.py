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
* With a budget for bad rows, rows that do not fit are set aside (``RowRules``). They do not widen types.
* ``columns`` and ``rename`` apply to every table. Columns that are left out are not checked. Given types refer to
  columns by their names in the source.
* A JSON document (only with the format ``json``) has an array of objects, at the keys ``records``. A file has one
  document, which is read whole: at most ``max_unit_bytes``. Its objects are read as JSON lines.
* JSON lines have one object in each line. A column with the given type ``string`` takes any value as its JSON text.
* A file that changed since it was planned, or changes while it is read, is refused.

``SourceOptions`` is imported at once and without pyarrow. The other names are imported when one of them is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from millrace.sources.format_options import named_format as named_format
from millrace.sources.format_options import options_of_others as options_of_others
from millrace.sources.options import SourceOptions as SourceOptions
from millrace.sources.roots import allowed_roots as allowed_roots
from millrace.sources.roots import root_list as root_list
from millrace.sources.row_rules import NAME_WITH_REJECTS_MAX as NAME_WITH_REJECTS_MAX
from millrace.sources.row_rules import NO_BAD_ROWS as NO_BAD_ROWS
from millrace.sources.row_rules import REJECTS_ENDING as REJECTS_ENDING
from millrace.sources.row_rules import BadRowBudget as BadRowBudget
from millrace.sources.row_rules import Contract as Contract
from millrace.sources.row_rules import Reaction as Reaction
from millrace.sources.row_rules import Reject as Reject
from millrace.sources.row_rules import RejectKind as RejectKind
from millrace.sources.row_rules import RowRules as RowRules

if TYPE_CHECKING:
    from millrace.sources.exports import *  # noqa: F403
else:

    def __getattr__(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module("millrace.sources.exports"), name)
