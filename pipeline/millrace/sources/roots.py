"""The folders from which declared sources and the form in Airflow may load. Importing it does not import pyarrow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from millrace.settings import millrace_home

if TYPE_CHECKING:
    from millrace.settings import Settings


def allowed_roots(settings: Settings) -> tuple[str, ...]:
    """Return the folders: ``MILLRACE_SOURCES__ROOTS``, else the inbox and demo folders."""
    return settings.sources.roots or tuple(str(millrace_home() / name) for name in ("inbox", "demo"))


def root_list(roots: Sequence[str]) -> str:
    """Return the folders as text for messages: ``a or b``."""
    return " or ".join(roots)
