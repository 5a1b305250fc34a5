"""Shorten texts of users and sources, so that they fit into a line."""

from __future__ import annotations


def shortened(text: str, characters: int = 40) -> str:
    """Return the text, or its first ``characters`` and an ellipsis if it is longer."""
    return text if len(text) <= characters else f"{text[:characters]}..."
