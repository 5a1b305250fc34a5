"""Text for users: sizes, durations, and the HTML table of notebooks."""

from millrace.display.notebook import html_table
from millrace.display.text import shortened
from millrace.display.units import human_bytes, human_seconds

__all__ = [
    "html_table",
    "human_bytes",
    "human_seconds",
    "shortened",
]
