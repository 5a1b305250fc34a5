"""Cassandra: schema, session, writer, reader and catalogue. Nothing in here knows sources, caches or people."""
