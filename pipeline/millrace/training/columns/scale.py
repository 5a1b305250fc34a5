"""The means and standard deviations by which columns are normalized."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from millrace.errors import UsageError
from millrace.training.columns.layout import Layout


@dataclass(frozen=True, slots=True)
class Scale:
    """The mean and the standard deviation of a column, float64: one number each, or one for each value of a row."""

    mean: Any
    std: Any

    def apply(self, values: Any) -> None:
        """Normalize rows (any, width) of float64 in place."""
        values -= self.mean
        values /= self.std


def scale_of(name: str, mean_and_std: Any, layout: Layout) -> Scale:
    """Return the scale of a column from ``normalize={name: mean_and_std}``; raise ``UsageError`` for a wrong one."""
    try:
        mean, std = (_flat(part, layout) for part in mean_and_std)
    except (TypeError, ValueError) as error:
        raise _refused(name, f"is no pair of numbers or of arrays of shape {_shown_shape(layout)}: {error}") from None
    if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
        raise _refused(name, "has a mean that is not finite, or a standard deviation that is not above 0")
    return Scale(mean, std)


def _shown_shape(layout: Layout) -> tuple[int, ...]:
    return layout.shape if layout.axes is None else tuple(layout.shape[axis] for axis in layout.axes)


def _flat(part: Any, layout: Layout) -> Any:
    """Return one number, or one for each value of a row in the order of memory."""
    numbers = np.asarray(part, np.float64)
    if numbers.ndim == 0:
        return numbers
    shown = np.broadcast_to(numbers, _shown_shape(layout))
    return np.ravel(shown if layout.axes is None else np.transpose(shown, np.argsort(layout.axes)))


def _refused(name: str, reason: str) -> UsageError:
    return UsageError(f"normalize= of column {name!r} {reason}", hint="give (mean, std)", column=name)
