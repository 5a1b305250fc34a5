"""python killed_loader.py NAME SOURCE RUN CALL: loads, and kills itself without warning at its CALL-th store call.

CALL 0 loads to the end and prints how many calls there were. ``after`` behind a number kills after the call was made
instead of before.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from pipeline.api import Store
from pipeline.load import LoadOptions
from pipeline.settings import load_settings
from pipeline.store.writer import ReplicatedWriter, Write


def main() -> None:
    name, source, run, when = sys.argv[1:]
    wanted, after = int(when.removesuffix("after")), when.endswith("after")
    calls = 0
    submit = ReplicatedWriter.submit

    def counted(self: ReplicatedWriter, write: Write) -> Any:
        nonlocal calls
        calls += 1
        if calls == wanted and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        future = submit(self, write)
        if calls == wanted:
            os.kill(os.getpid(), signal.SIGKILL)
        return future

    ReplicatedWriter.submit = counted  # type: ignore[method-assign]
    settings = load_settings(redis={"url": ""}, kafka={"bootstrap_servers": ""}, load={"bucket_bytes": 5_000_000})
    with Store.connect(settings) as store:
        store.load(name, source, LoadOptions(chunk_bytes=1_000_000), run=run)
    print(calls)


main()
