"""Follow a run as ``millrace watch`` does, without showing it."""

from __future__ import annotations

from collections.abc import Callable

from millrace.cli.watcher import Watched, Watcher
from millrace.progress import Event


def watch(
    url: str,
    dag_id: str | None = None,
    run_id: str | None = None,
    on_event: Callable[[Event], None] | None = None,
    timeout_s: float | None = None,
    *,
    token: str | None = None,
) -> Watched:
    """Follow a run until it is over, or all, and return how every task ended.

    ``on_event`` is called with every new event, in order within a run. If ``timeout_s`` expires first, the result has
    ``over`` false.
    """
    watcher = Watcher(url, dag_id=dag_id, run_id=run_id, token=token)
    for event in watcher.events(timeout_s=timeout_s):
        if on_event is not None and event is not None:
            on_event(event)
    return watcher.result()
