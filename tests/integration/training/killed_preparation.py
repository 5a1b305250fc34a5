"""``python -m tests.integration.training.killed_preparation DATASET PREFIX RUN PHASE``: prepare, and die in a phase."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from millrace import connect
from millrace.progress import null_task
from millrace.training.prepare import make_prepare_plan
from tests.integration.training.small_preparation import preparation_of


class DeadlyTask:
    """A task that kills the process when the phase begins; ``end`` is the end of the work."""

    def __init__(self, phase: str) -> None:
        self._phase = phase
        self._task = null_task()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def phase(self, name: str) -> None:
        """Begin a phase."""
        if name == self._phase:
            os.kill(os.getpid(), signal.SIGKILL)


def main(dataset: str, prefix: str, run: str, phase: str) -> None:
    """Prepare the dataset as the command does, and die in ``phase``."""
    task: Any = DeadlyTask(phase)
    with connect() as store:
        task.phase("plan")
        plan = make_prepare_plan(store.catalogue, preparation_of(prefix, dataset), run=run)
        data = store.write_preparation(plan, task=task)
        task.phase("publish")
        store.publish_preparation(plan, data)
        task.phase("end")


if __name__ == "__main__":
    main(*sys.argv[1:])
