"""Report the progress of any code to Kafka; the live page and ``millrace watch`` show it.

python examples/report_progress.py
"""

from __future__ import annotations

import time

from millrace import progress
from millrace.names import new_run_id
from millrace.settings import load_settings

STEPS = 40


def main() -> str:
    run = new_run_id("training")
    identity = progress.TaskIdentity(dag_id="python", run_id=run, task_id="train")
    sink = progress.kafka_sink(load_settings().kafka)
    # Reporting never fails or stops the work. An exception in the block is reported as the task's failure.
    with progress.task(identity, kind="train", total=STEPS, unit="steps", sinks=[sink]) as task:
        for step in range(STEPS):
            time.sleep(0.02)
            task.advance(1)
            task.curve("loss", step, 1 / (step + 1))
    print(f"see: millrace watch python/{run}")
    return run


if __name__ == "__main__":
    main()
