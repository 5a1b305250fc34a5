"""Encodings of values within a tile, and the codecs that compress a tile."""
