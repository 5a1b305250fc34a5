"""Names: datasets, references to versions, run ids, and lists of column names as users write them."""

from millrace.names.columns import (
    column_type_option,
    first_duplicate,
    listed_columns,
    parse_columns,
    parse_rename,
    quoted_column,
)
from millrace.names.references import (
    VersionSelector,
    check_dataset_name,
    check_tag,
    nearest,
    new_run_id,
    parse_reference,
)

__all__ = [
    "VersionSelector",
    "check_dataset_name",
    "check_tag",
    "column_type_option",
    "first_duplicate",
    "listed_columns",
    "nearest",
    "new_run_id",
    "parse_columns",
    "parse_reference",
    "parse_rename",
    "quoted_column",
]
