"""Identify the attempt that a rank reports, so that all ranks of one job appear as one run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from millrace.errors import UsageError
from millrace.names import new_run_id
from millrace.progress import TaskIdentity, attempt_now
from millrace.training.progress.facts import TrainingFacts

TASK_ID: Final = "train"
RUN_ID_VARIABLE: Final = "TORCHELASTIC_RUN_ID"
"""The run id that torchrun gives to all its ranks: ``--rdzv-id``, or a new one with ``--standalone``."""
_NO_RUN_ID: Final = ("", "none")
"""Values of the variable without such an option: each job has the same."""


def identity_of_rank(
    facts: TrainingFacts, run_id: str | None, environment: Mapping[str, str] = os.environ
) -> TaskIdentity:
    """Return ``python/<run>/train/<rank>`` for a rank.

    The run is ``run_id``, else that of torchrun, else a new one. A given run may have been reported before, by a job
    that was stopped and resumed, so the attempt is then a number made from the time.
    Raises ``UsageError`` if there are several ranks and no run id that they share.
    """
    shared = run_id or environment.get(RUN_ID_VARIABLE, "")
    if run_id is None and shared in _NO_RUN_ID:
        shared = ""
    if not shared and facts.world_size > 1:
        raise UsageError(
            f"the {facts.world_size} ranks of this job have no run id in common, so they cannot be shown together",
            hint="pass the same run_id= in each rank, or start torchrun with --rdzv-id or --standalone",
        )
    attempt = attempt_now() if shared else 1
    return TaskIdentity("python", shared or new_run_id(facts.dataset), TASK_ID, map_index=facts.rank, attempt=attempt)
