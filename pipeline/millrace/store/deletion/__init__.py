"""Versions: marked as deleted, restored, and removed after the grace time."""
