"""Bounds and null counts of columns, for filters."""
