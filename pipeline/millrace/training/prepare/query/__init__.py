"""Check the query of a preparation, and find the columns and rows of each input that it needs."""

from millrace.training.prepare.query.check import check_query
from millrace.training.prepare.query.checked import CheckedQuery, InputNeed
from millrace.training.prepare.query.expression import expression_columns

__all__ = ["CheckedQuery", "InputNeed", "check_query", "expression_columns"]
