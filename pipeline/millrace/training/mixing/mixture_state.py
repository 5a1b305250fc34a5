"""The state of a mixture: small JSON that restores every rank, on any world size and batch size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from millrace.errors import UsageError
from millrace.training.mixing.plan import Stop
from millrace.training.state import LoaderState, checked_fields

_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "stop": (str,),
    "weights": (list,),
    "epoch": (int,),
    "rows": (int,),
    "datasets": (list,),
}
"""The keys of the JSON object, with their types."""


@dataclass(frozen=True)
class MixtureState:
    """The datasets of a mixture with their weights, and the position in it.

    ``rows`` counts the rows of all datasets that were handed out in ``epoch``. The positions of the datasets follow
    from it; they are in the state so that each dataset can also be read alone.
    """

    stop: Stop
    weights: tuple[int, ...]
    epoch: int
    rows: int
    datasets: tuple[LoaderState, ...]

    @staticmethod
    def is_one(document: object) -> bool:
        """Return whether a document is meant as the state of a mixture, and not of a loader."""
        return isinstance(document, Mapping) and "datasets" in document

    def to_json(self) -> dict[str, Any]:
        """Return the state as a JSON object."""
        return {
            "stop": str(self.stop),
            "weights": list(self.weights),
            "epoch": self.epoch,
            "rows": self.rows,
            "datasets": [dataset.to_json() for dataset in self.datasets],
        }

    @classmethod
    def from_json(cls, document: object) -> MixtureState:
        """Return the state of a JSON object; raise ``UsageError`` for a document that is not a mixture's state."""
        values = checked_fields(document, _TYPES, {"stop": Stop}, _refusal)
        datasets = tuple(LoaderState.from_json(dataset) for dataset in values["datasets"])
        weights = tuple(values["weights"])
        if not datasets or len(weights) != len(datasets) or any(type(each) is not int or each < 1 for each in weights):
            raise _refusal(f"weights is {list(weights)} for {len(datasets)} datasets")
        return cls(Stop(values["stop"]), weights, values["epoch"], values["rows"], datasets)

    def check(self, other: MixtureState) -> None:
        """Raise ``UsageError`` unless ``other`` is a state of the same datasets, weights and stop condition."""
        for name, mine, theirs in (
            ("stop", str(self.stop), str(other.stop)),
            ("weights", self.weights, other.weights),
            ("datasets", len(self.datasets), len(other.datasets)),
        ):
            if mine != theirs:
                raise UsageError(
                    f"the state has {name} {theirs}, but the mixture has {name} {mine}",
                    hint="mix the loaders of the state, with its weights, in its order",
                    field=name,
                    expected=mine,
                    actual=theirs,
                )
        for dataset, loaded in zip(self.datasets, other.datasets, strict=True):
            dataset.check(loaded)


def _refusal(reason: str) -> UsageError:
    return UsageError(f"this is not the state of a mixture: {reason}", hint="pass the result of mixture.state_dict()")
