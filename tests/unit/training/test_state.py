"""The state of a loader: small JSON, checked when it is read."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from millrace.errors import UsageError
from millrace.training.order import OrderSpec, Shuffle, Tail
from millrace.training.state import LoaderState

SPEC = OrderSpec("flights@12-3fa9c1", "train", 7, lanes=8, shuffle=Shuffle.WINDOW, window_chunks=4)
STATE = LoaderState(SPEC, Tail.DROP_LAST, epoch=3, rows=512)


def test_a_state_survives_json() -> None:
    assert LoaderState.from_json(json.loads(json.dumps(STATE.to_json()))) == STATE


def test_a_state_of_the_longest_names_has_at_most_300_bytes() -> None:
    spec = OrderSpec("f" * 48 + "@123456789-3fa9c1", "s" * 48, 2**63 - 1, 1024, Shuffle.WINDOW, 1024)
    state = LoaderState(spec, Tail.DROP_LAST, epoch=2**31, rows=10**12)
    assert len(json.dumps(state.to_json(), separators=(",", ":"))) <= 300


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rows": None}, "rows is None"),
        ({"rows": 1.5}, "rows is 1.5"),
        ({"epoch": True}, "epoch is True"),
        ({"split": 3}, "split is 3"),
        ({"version": None}, "version is None"),
        ({"shuffle": "buffer"}, "shuffle is 'buffer', not one of none, chunk, window, full"),
        ({"tail": "cut"}, "tail is 'cut', not one of drop_last, pad, uneven"),
        ({"rows": -1}, "epoch or rows is negative"),
        ({"more": 1}, "its keys differ in more"),
    ],
)
def test_a_broken_state_is_refused_in_one_line(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError) as refusal:
        LoaderState.from_json(STATE.to_json() | change)
    assert str(refusal.value) == (
        f"this is not the state of a loader: {reason}: pass the result of loader.state_dict()"
    )


def test_a_state_without_a_key_is_refused() -> None:
    document = STATE.to_json()
    del document["seed"]
    with pytest.raises(UsageError, match="its keys differ in seed"):
        LoaderState.from_json(document)


@pytest.mark.parametrize("document", ["{}", 7, None, [1]])
def test_a_state_that_is_no_object_is_refused(document: object) -> None:
    with pytest.raises(UsageError, match=f"it is {type(document).__name__}, not an object"):
        LoaderState.from_json(document)


def test_a_state_of_another_algorithm_is_refused() -> None:
    with pytest.raises(UsageError, match="order algorithm 2 is not known"):
        LoaderState.from_json(STATE.to_json() | {"algorithm": 2})


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            replace(STATE, spec=replace(SPEC, version="flights@13-77aa01")),
            "the state has version 'flights@13-77aa01', but the loader has version 'flights@12-3fa9c1'",
        ),
        (replace(STATE, spec=replace(SPEC, lanes=4)), "the state has lanes 4, but the loader has lanes 8"),
        (replace(STATE, spec=replace(SPEC, seed=8)), "the state has seed 8, but the loader has seed 7"),
        (replace(STATE, spec=replace(SPEC, split=None)), "the state has split None, but the loader has split 'train'"),
        (
            replace(STATE, spec=replace(SPEC, shuffle=Shuffle.FULL)),
            "the state has shuffle 'full', but the loader has shuffle 'window'",
        ),
        (replace(STATE, spec=replace(SPEC, window_chunks=2)), "the state has window 2, but the loader has window 4"),
        (replace(STATE, tail=Tail.PAD), "the state has tail 'pad', but the loader has tail 'drop_last'"),
    ],
)
def test_a_state_of_another_order_is_refused_by_the_field_that_differs(other: LoaderState, message: str) -> None:
    with pytest.raises(UsageError) as refusal:
        STATE.check(other)
    assert str(refusal.value).startswith(message)


def test_a_state_of_another_position_is_accepted() -> None:
    STATE.check(replace(STATE, epoch=9, rows=0))
