"""Read training data: deterministic, elastic order, and batches of columns with a memory bound in bytes."""
