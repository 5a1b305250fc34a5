"""Lineage: which versions were made from which."""
