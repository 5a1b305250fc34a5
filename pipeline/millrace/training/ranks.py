"""The rank of this process, the number of ranks and the name of the job, as launchers of distributed jobs give them."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from uuid import uuid4

from millrace.errors import UsageError


def rank_and_world_size(
    rank: int | None, world_size: int | None, environment: Mapping[str, str] = os.environ
) -> tuple[int, int]:
    """Return both numbers; one that is None comes from ``RANK`` or ``WORLD_SIZE``, else it is 0 or 1."""
    return (
        _number("RANK", 0, environment) if rank is None else rank,
        _number("WORLD_SIZE", 1, environment) if world_size is None else world_size,
    )


def job_name(environment: Mapping[str, str] = os.environ) -> str:
    """Return a name that all ranks of a job share: that of torchrun, else the address of its first rank.

    Without both, the process is a job of its own.
    """
    run_id = environment.get("TORCHELASTIC_RUN_ID", "")
    if run_id not in ("", "none"):
        return run_id
    if "MASTER_PORT" in environment:
        return f"{environment.get('MASTER_ADDR', '')}:{environment['MASTER_PORT']}"
    return f"{socket.gethostname()}/{uuid4().hex[:8]}"


def _number(variable: str, default: int, environment: Mapping[str, str]) -> int:
    text = environment.get(variable, "")
    if not text:
        return default
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{variable}={text!r} is not a number", hint=f"unset {variable}, or pass the value") from None
