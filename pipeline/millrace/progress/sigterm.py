"""Handle SIGTERM while tasks are being reported: send their last events before the process ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

_FLUSH_S: Final = 1.0
"""Time that a terminated process waits for delivery of the last events, in all: SIGTERM is followed by SIGKILL."""

TerminationCallback = Callable[[float], None]
"""Called with the seconds that it may take."""

_termination_callbacks: dict[int, TerminationCallback] = {}
_previous: Any = signal.SIG_DFL
_installed_in: int | None = None


def register_sigterm_callback(key: int, on_terminate: TerminationCallback) -> None:
    """Call ``on_terminate(timeout_s)`` on SIGTERM, until ``unregister_sigterm_callback(key)``.

    The previous handler is chained and called first. Its exception propagates, and the task then ends by that
    exception. If there was no handler, the default action follows afterwards. No handler is installed outside the main
    thread, if SIGTERM is ignored, or if the previous handler cannot be chained.
    """
    global _previous, _installed_in
    if threading.current_thread() is not threading.main_thread():
        return
    _termination_callbacks[key] = on_terminate
    if _installed_in == os.getpid() and signal.getsignal(signal.SIGTERM) is _on_sigterm:
        return
    handler = signal.getsignal(signal.SIGTERM)
    if handler in (signal.SIG_IGN, None) or handler is _on_sigterm:
        return
    _previous = handler
    _installed_in = os.getpid()
    signal.signal(signal.SIGTERM, _on_sigterm)


def unregister_sigterm_callback(key: int) -> None:
    """Remove ``key``. The last removal restores the previous handler, unless this module's was replaced meanwhile."""
    global _installed_in
    _termination_callbacks.pop(key, None)
    if _termination_callbacks or threading.current_thread() is not threading.main_thread():
        return
    if _installed_in is not None and signal.getsignal(signal.SIGTERM) is _on_sigterm:
        signal.signal(signal.SIGTERM, _previous)
    _installed_in = None


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    if callable(_previous):
        _previous(number, frame)
    # A forked child inherits the handler, but the tasks belong to its parent.
    if _installed_in == os.getpid():
        callbacks = list(_termination_callbacks.values())
        for on_terminate in callbacks:
            on_terminate(_FLUSH_S / len(callbacks))
    if not callable(_previous):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
