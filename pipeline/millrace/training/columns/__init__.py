"""The columns of batches: their dtypes and shapes, nulls, normalization, and the writing of rows to their places."""

from millrace.training.columns.batch_format import BatchFormat
from millrace.training.columns.plan import ColumnPlan
from millrace.training.columns.planning import Plan, plan_columns
from millrace.training.columns.ragged import RaggedPlan

__all__ = ["BatchFormat", "ColumnPlan", "Plan", "RaggedPlan", "plan_columns"]
