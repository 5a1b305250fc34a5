"""Text for users: sizes, durations, the HTML table of notebooks, and generated files."""

from millrace.display.generated_file import keep_current
from millrace.display.notebook import html_table
from millrace.display.text import shortened
from millrace.display.units import human_bytes, human_seconds

__all__ = [
    "html_table",
    "human_bytes",
    "human_seconds",
    "keep_current",
    "shortened",
]
