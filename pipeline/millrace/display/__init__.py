"""Text for users: sizes, durations, URIs without credentials, and the HTML table of notebooks."""

from millrace.display.credentials import SECRET_PARAMETER, without_credentials
from millrace.display.notebook import html_table
from millrace.display.text import shortened
from millrace.display.units import human_bytes, human_seconds

__all__ = [
    "SECRET_PARAMETER",
    "html_table",
    "human_bytes",
    "human_seconds",
    "shortened",
    "without_credentials",
]
