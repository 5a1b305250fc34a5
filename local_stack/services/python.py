"""The environment that services written in Python share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from local_stack.services.base import StackLayout
from local_stack.settings import ENV_PREFIX, PYTHON_PATH

SCRIPTS = Path(sys.executable).parent
"""The folder of the commands of this Python environment."""

_FOREIGN = ("AIRFLOW", "PYTHON", "GUNICORN", "VIRTUAL_ENV", ENV_PREFIX)


def python_env(place: StackLayout) -> dict[str, str]:
    """Return the environment of a Python service of this checkout.

    The caller's variables are passed on, because a source may need its credentials and the product its ``MILLRACE_*``.
    Those that would configure another Airflow, gunicorn, Python or stack are left out.
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
