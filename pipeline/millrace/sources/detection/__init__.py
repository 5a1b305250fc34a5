"""Detection of the format of a source from its first bytes."""
