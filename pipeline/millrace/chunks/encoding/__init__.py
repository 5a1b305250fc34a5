"""The forms in which a tile holds values, and the codecs."""
