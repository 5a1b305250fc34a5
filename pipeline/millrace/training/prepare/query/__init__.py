"""Check the query of a preparation, and find the columns and rows of each input that it needs."""

from millrace.training.prepare.query.checked import CheckedQuery, InputNeed

__all__ = ["CheckedQuery", "InputNeed"]
