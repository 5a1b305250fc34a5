"""The folders of settings and local data: those of a checkout, or those of the user for an installed package."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path


@cache
def checkout() -> Path | None:
    """Return the folder of the checkout that this package runs from, or None for an installed package."""
    folder = Path(__file__).resolve().parents[3]
    return folder if (folder / "run").is_file() and (folder / "local_stack").is_dir() else None


def millrace_home() -> Path:
    """Return the folder of local data.

    It is ``MILLRACE_HOME``, or ``.millrace`` in the checkout, or the data folder of the user for an installed package.
    """
    if home := _given_home():
        return home
    from platformdirs import user_data_path

    return user_data_path("millrace", appauthor=False)


def home_settings_file() -> Path:
    """Return the path of the ``millrace.toml`` that applies in every working directory.

    It is in ``millrace_home()``, or in the configuration folder of the user for an installed package.
    """
    if home := _given_home():
        return home / "millrace.toml"
    from platformdirs import user_config_path

    return user_config_path("millrace", appauthor=False) / "millrace.toml"


def default_sources_file() -> Path:
    """Return the path of the declared sources: ``conf/sources.yaml`` of the checkout, or beside the user's settings."""
    return _declarations_file("sources.yaml")


def default_training_file() -> Path:
    """Return the path of the declared training data, which is beside the declared sources."""
    return _declarations_file("training.yaml")


def _declarations_file(name: str) -> Path:
    folder = checkout()
    return folder / "conf" / name if folder else home_settings_file().with_name(name)


def _given_home() -> Path | None:
    if given := os.environ.get("MILLRACE_HOME"):
        return Path(given).resolve()
    return folder / ".millrace" if (folder := checkout()) else None


def run_hint(command: str) -> str:
    """Return ``: ./run COMMAND``, the end of a hint, or an empty text for an installed package."""
    return f": ./run {command}" if checkout() else ""
