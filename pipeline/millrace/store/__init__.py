"""Cassandra: schema, session, writer, reader and catalogue. Nothing here depends on sources, caches or commands."""
