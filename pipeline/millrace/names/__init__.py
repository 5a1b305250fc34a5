"""Names: datasets, references to versions, run ids, lists of column names, and URIs as users write them."""

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
    check_run,
    check_tag,
    nearest,
    new_run_id,
    parse_reference,
)
from millrace.names.uris import has_credentials, without_credentials

__all__ = [
    "VersionSelector",
    "check_dataset_name",
    "check_run",
    "check_tag",
    "column_type_option",
    "first_duplicate",
    "has_credentials",
    "listed_columns",
    "nearest",
    "new_run_id",
    "parse_columns",
    "parse_reference",
    "parse_rename",
    "quoted_column",
    "without_credentials",
]
