"""The Airflow home of a test process: a temporary folder with its database.

Airflow reads its home once, when it is first imported. All tests that import Airflow call ``use_airflow_home`` before.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


@cache
def use_airflow_home() -> Path:
    """Set the home for this process and return it; RuntimeError if Airflow was imported before."""
    if "airflow" in sys.modules:
        raise RuntimeError("Airflow was imported before its home was set")
    home = Path(tempfile.mkdtemp(prefix="millrace-test-airflow-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    os.environ.update(
        {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(CHECKOUT / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(CHECKOUT / "plugins"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
            "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        }
    )
    return home
