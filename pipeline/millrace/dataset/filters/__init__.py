"""Filters: parsed, converted to column types, applied to chunks and rows."""
