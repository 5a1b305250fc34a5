"""Load a source into a dataset: a plan, splits written one by one or in parallel, and one row per version.

``plan`` decides everything (schema, splits, version, settings). ``load_split`` writes one split and returns only names
and totals. ``publish`` alone makes the version visible, by writing its row. ``load`` does all of it in one process.
Plans and results are plain JSON, because Airflow passes them between tasks.
"""

from millrace.load.encoding import encoded_chunks
from millrace.load.measurement import measure
from millrace.load.memory import loader_memory
from millrace.load.merge import merge_siblings
from millrace.load.options import LoadOptions
from millrace.load.plan import LoadPlan
from millrace.load.planning import make_plan
from millrace.load.publishing import confirm_version, publish
from millrace.load.reject_version import publish_rejects_of_split, report_fields
from millrace.load.rejects import SplitOverBudgetError
from millrace.load.replay import (
    ReplayReport,
    check_any_fits,
    earlier_replay,
    reading_of,
    rejects_of,
    replay_plan,
    replay_run,
)
from millrace.load.replay_source import ReplayFiles
from millrace.load.report import LoadReport
from millrace.load.report_parts import SourceFacts, StageTimes
from millrace.load.report_text import report_facts, report_table
from millrace.load.resume import unfinished_run
from millrace.load.run_record import RunRecord, skipped_report
from millrace.load.split import load_split, task_unit
from millrace.load.split_result import SplitResult
from millrace.load.version_reports import outcome, version_report

__all__ = [
    "LoadOptions",
    "LoadPlan",
    "LoadReport",
    "ReplayFiles",
    "ReplayReport",
    "RunRecord",
    "SourceFacts",
    "SplitOverBudgetError",
    "SplitResult",
    "StageTimes",
    "check_any_fits",
    "confirm_version",
    "encoded_chunks",
    "earlier_replay",
    "load_split",
    "loader_memory",
    "make_plan",
    "measure",
    "merge_siblings",
    "outcome",
    "publish",
    "publish_rejects_of_split",
    "reading_of",
    "rejects_of",
    "replay_plan",
    "replay_run",
    "report_facts",
    "report_fields",
    "report_table",
    "skipped_report",
    "task_unit",
    "unfinished_run",
    "version_report",
]
