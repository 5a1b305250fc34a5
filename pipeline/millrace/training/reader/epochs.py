"""The parts of a read one after another in the slots, and the windows of a lane through all of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from millrace.training.order import BatchPlan, Order
from millrace.training.reader.places import EpochPlaces, RingShape
from millrace.training.reader.window_load import WindowLoad

EpochPlans = Iterator[tuple[int, BatchPlan]]
"""Numbers of epochs with the batches that are read of each, without end."""


def all_epochs(epoch: int, rest: BatchPlan, whole_epoch: BatchPlan) -> EpochPlans:
    """Yield the rest of an epoch, and every epoch after it."""
    yield epoch, rest
    for number in count(epoch + 1):
        yield number, whole_epoch


class Epochs:
    """The places of the batches of epoch after epoch; each begins in the slot after the one before."""

    def __init__(self, plans: EpochPlans, ring: RingShape, first_slot: int) -> None:
        self._plans = plans
        self._ring = ring
        self._slot = first_slot
        self._epochs: list[EpochPlaces] = []

    def places(self, number: int) -> EpochPlaces:
        """Return the places of the epoch ``number`` epochs after the first."""
        while len(self._epochs) <= number:
            epoch, plan = next(self._plans)
            self._epochs.append(EpochPlaces(epoch, plan, self._ring, self._slot))
            self._slot = self._epochs[-1].end_slot
        return self._epochs[number]


class LaneCursor:
    """The windows of a lane, epoch after epoch; ``load`` is the next one."""

    def __init__(self, lane: int, order: Order, epochs: Epochs) -> None:
        self._loads = _loads(lane, order, epochs)
        self.load = next(self._loads)

    def take(self) -> WindowLoad:
        """Return the next window, and go on to the one after it."""
        load, self.load = self.load, next(self._loads)
        return load


def _loads(lane: int, order: Order, epochs: Epochs) -> Iterator[WindowLoad]:
    for number in count():
        places = epochs.places(number)
        for window in order.windows(lane, places.epoch, from_row=places.plan.from_row):
            span = places.span(window)
            if span is None:  # no batch delivers the rows from here on
                break
            yield WindowLoad(window, places, span)
