"""Parquet: schema, row groups and rows."""
