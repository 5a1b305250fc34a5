"""Declarations: named entries of a YAML file, each checked on its own, without any service.

``read_sources`` reads ``conf/sources.yaml``, and ``read_training`` reads ``conf/training.yaml``. ``read_declarations``
reads any file with ``defaults`` and a section of named entries. A broken entry has errors with file, line and field,
and the other entries can be used.
"""

from millrace.declarations.document import NAME_PATTERN, CrossFault, Declarations, Section, read_declarations
from millrace.declarations.error_text import Problem
from millrace.declarations.field_words import ENTRY_TITLES, field_words, in_field_words, warning_in_field_words
from millrace.declarations.loading import (
    DeclaredLoad,
    declared_load,
    find_source,
    load_options,
    local_time,
)
from millrace.declarations.option_fields import OPTION_NAMES
from millrace.declarations.schedules import parse_time
from millrace.declarations.source_entry import SourceEntry
from millrace.declarations.sources_file import read_sources, sources_path
from millrace.declarations.training_entry import TrainingEntry
from millrace.declarations.training_file import find_training, make_training, read_training, training_path
from millrace.declarations.uri_dates import render_dates

__all__ = [
    "ENTRY_TITLES",
    "NAME_PATTERN",
    "OPTION_NAMES",
    "CrossFault",
    "Declarations",
    "DeclaredLoad",
    "Problem",
    "Section",
    "SourceEntry",
    "TrainingEntry",
    "declared_load",
    "field_words",
    "find_source",
    "find_training",
    "in_field_words",
    "load_options",
    "local_time",
    "make_training",
    "parse_time",
    "read_declarations",
    "read_sources",
    "read_training",
    "render_dates",
    "sources_path",
    "training_path",
    "warning_in_field_words",
]
