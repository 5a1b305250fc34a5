"""A DAG bundle with the DAGs of the installed package, for an Airflow that also has other DAGs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow.dag_processing.bundles.local import LocalDagBundle

from millrace.settings import checkout


class MillraceDagBundle(LocalDagBundle):
    """The folder of the DAGs: ``dags`` beside this file in an installed package, and in the checkout otherwise."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(path=str((checkout() or Path(__file__).parent) / "dags"), **kwargs)
