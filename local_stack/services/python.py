"""What the services that are Python programs of this environment have in common."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from local_stack.services.base import Place
from local_stack.settings import ENV_PREFIX, PYTHON_PATH

SCRIPTS = Path(sys.executable).parent
"""Where the environment keeps its commands."""

_FOREIGN = ("AIRFLOW", "PYTHON", "GUNICORN", "VIRTUAL_ENV", ENV_PREFIX)


def python_env(place: Place) -> dict[str, str]:
    """Return the environment of a Python service of this checkout.

    The caller's variables go along (a source may need its credentials, the product its ``MILLRACE_*``), except
    those that would make it another Airflow or another Python.
    """
    callers = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    without_proxy = ",".join(filter(None, (os.environ.get("no_proxy", ""), "127.0.0.1,localhost")))
    return {
        **callers,
        **place.base_env(),
        "PATH": f"{SCRIPTS}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": PYTHON_PATH,
        "PYTHONUNBUFFERED": "1",
        "no_proxy": without_proxy,
        "NO_PROXY": without_proxy,
    }
