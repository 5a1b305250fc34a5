"""Find missing and damaged replicas, and repair those that are on record."""
