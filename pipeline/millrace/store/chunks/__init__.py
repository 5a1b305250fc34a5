"""Chunks in Cassandra: written in buckets, read from replicas."""
