"""Render templates to configuration files, for this machine and for Docker Compose."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).parent / "templates"


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=False,  # noqa: S701  configuration files, not HTML
    )  # fmt: skip


def render(template: str, **values: Any) -> str:
    """Return the template ``<template>.j2`` filled in; raise ``UndefinedError`` if a value that it names is missing."""
    return _environment().get_template(f"{template}.j2").render(values)
