"""Make training rows from a query's result: labels, checks of time, splits, codes of categories, order, statistics."""

from millrace.training.prepare.rows.canonical import canonical_text, order_number, split_number
from millrace.training.prepare.rows.expectations import check_expectations, target_share
from millrace.training.prepare.rows.features import Feature, NullRule
from millrace.training.prepare.rows.plan import RowsPlan, plan_rows
from millrace.training.prepare.rows.prepared import PreparedRows, make_rows
from millrace.training.prepare.rows.recipes import make_recipe
from millrace.training.prepare.rows.splitting import TRAIN, split_of, weight_limits
from millrace.training.prepare.rows.statistics import TrainStatistics

__all__ = [
    "TRAIN",
    "Feature",
    "NullRule",
    "PreparedRows",
    "RowsPlan",
    "TrainStatistics",
    "canonical_text",
    "check_expectations",
    "make_recipe",
    "make_rows",
    "order_number",
    "plan_rows",
    "split_number",
    "split_of",
    "target_share",
    "weight_limits",
]
