"""The catalogue: version rows, pages, lists of pages, tags and leases."""
