"""Load a source into a dataset: a plan, splits written one by one or in parallel, and one row per version.

``plan`` decides everything (schema, splits, version, settings). ``load_split`` writes one split and returns names only.
``publish`` alone makes the version visible, by writing its row. ``load`` does all of it in one process. Plans and
results are plain JSON, because Airflow passes them between tasks.
"""

from __future__ import annotations

from millrace.load.plan import LoadOptions, LoadPlan, make_plan
from millrace.load.publish import LoadReport, publish
from millrace.load.split import SplitResult, load_split

__all__ = ["LoadOptions", "LoadPlan", "LoadReport", "SplitResult", "load_split", "make_plan", "publish"]
