"""The settings of an order are checked by name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from millrace.errors import UsageError
from millrace.training.order import OrderSpec, Shuffle

SPEC = OrderSpec("flights@12-3fa9c1", "train", 7, lanes=8, shuffle=Shuffle.WINDOW, window_chunks=4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": -1}, "seed is -1: use a number from 0 to 9223372036854775807"),
        ({"seed": 2**63}, "seed is 9223372036854775808: use a number from 0 to 9223372036854775807"),
        ({"lanes": 0}, "lanes is 0: use a number at least 1"),
        ({"window_chunks": 0}, "window_chunks is 0: use a number at least 1"),
        ({"algorithm": 2}, "order algorithm 2 is not known: this release of Millrace has algorithm 1"),
    ],
)
def test_a_setting_outside_its_range_is_refused_by_name(change: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError) as refusal:
        replace(SPEC, **change)  # type: ignore[arg-type]
    assert str(refusal.value).startswith(message)
