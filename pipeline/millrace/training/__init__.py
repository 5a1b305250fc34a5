"""Read a dataset for training: the same shuffled batches for any number of processes, from a state of one number."""
