"""JSON documents: an array of objects in each file, read as JSON lines."""
