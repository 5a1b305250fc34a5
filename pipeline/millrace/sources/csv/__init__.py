"""CSV: dialect, types and rows."""
