"""The columns of batches: their dtypes and shapes, nulls, normalization, and the writing of rows to their places."""

from millrace.training.columns.batch_format import BatchFormat
from millrace.training.columns.origin import Origin, Values, origins_of
from millrace.training.columns.plan import ColumnPlan
from millrace.training.columns.planning import Plan, plan_columns
from millrace.training.columns.ragged import RaggedPlan
from millrace.training.columns.recipe_rules import RECIPE, RecipeRules, checked_normalize

__all__ = [
    "BatchFormat",
    "ColumnPlan",
    "Origin",
    "Plan",
    "RECIPE",
    "RaggedPlan",
    "RecipeRules",
    "Values",
    "checked_normalize",
    "origins_of",
    "plan_columns",
]
