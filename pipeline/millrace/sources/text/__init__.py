"""Text of CSV and JSON lines: decoding, blocks, record boundaries, whole numbers."""
