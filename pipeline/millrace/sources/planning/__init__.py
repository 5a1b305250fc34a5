"""The plan of a source: files, format, schema and splits."""
