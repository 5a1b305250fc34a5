"""JSON lines: types and rows."""
