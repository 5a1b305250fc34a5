"""Prepare training data: join declared inputs by SQL, and write an immutable version with splits and a recipe.

``make_prepare_plan`` decides from which versions. ``prepare_rows`` runs the query and writes chunks.
``publish_prepared`` alone makes the version visible. Plans and results are plain JSON, because Airflow passes them
between tasks.
"""

from millrace.training.prepare.entry import ALWAYS, REST, TARGET, CutSplits, Expectations, HashSplits, Preparation
from millrace.training.prepare.plan import PreparePlan
from millrace.training.prepare.planning import make_prepare_plan
from millrace.training.prepare.preview import Preview, preview
from millrace.training.prepare.publishing import publish_prepared, unchanged_report
from millrace.training.prepare.writing import PreparedData, prepare_rows

__all__ = [
    "ALWAYS",
    "REST",
    "TARGET",
    "CutSplits",
    "Expectations",
    "HashSplits",
    "Preparation",
    "PreparePlan",
    "PreparedData",
    "Preview",
    "make_prepare_plan",
    "prepare_rows",
    "preview",
    "publish_prepared",
    "unchanged_report",
]
