"""Rows as files, data frames and text."""
