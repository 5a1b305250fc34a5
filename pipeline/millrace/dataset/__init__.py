"""Read a version of a dataset, through the method names and meanings of ``pyarrow.dataset.Dataset``."""

from millrace.dataset.chunk_columns import ColumnPlace
from millrace.dataset.chunk_decoder import ChunkDecoder
from millrace.dataset.chunk_source import ChunkSource
from millrace.dataset.comparison import DiffReport, diff
from millrace.dataset.dataset import Dataset
from millrace.dataset.exports.display_text import as_text
from millrace.dataset.exports.files import discard_parts, export, format_of
from millrace.dataset.filters.conditions import as_condition
from millrace.dataset.read_cost import ReadCost
from millrace.dataset.recipe import RECIPE_KEY, TARGET, Recipe, recipe_of, without_recipe
from millrace.dataset.scan import Scan
from millrace.dataset.scan_stats import ScanStats, Tier
from millrace.dataset.selection import column_indices
from millrace.dataset.splits import chosen_chunks, split_chunks, splits_of, with_splits
from millrace.dataset.verification import VerifyReport, verify_chunks
from millrace.dataset.warming import WarmOptions, WarmReport, warm

__all__ = [
    "ChunkDecoder",
    "ChunkSource",
    "ColumnPlace",
    "Dataset",
    "DiffReport",
    "RECIPE_KEY",
    "ReadCost",
    "Recipe",
    "Scan",
    "ScanStats",
    "TARGET",
    "Tier",
    "VerifyReport",
    "WarmOptions",
    "WarmReport",
    "as_condition",
    "as_text",
    "chosen_chunks",
    "column_indices",
    "diff",
    "discard_parts",
    "export",
    "format_of",
    "recipe_of",
    "split_chunks",
    "splits_of",
    "verify_chunks",
    "warm",
    "with_splits",
    "without_recipe",
]
