"""Other programs that do the same work; used by benchmarks alone."""
