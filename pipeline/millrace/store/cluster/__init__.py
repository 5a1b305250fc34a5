"""Cassandra as a cluster: driver, session, state of nodes, replicated writes, schema."""
