"""A declared preparation: its inputs, its query, and the rules for time, splits, nulls and categories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Self

from millrace.dataset import TARGET as STORED_TARGET

TARGET: Final = STORED_TARGET
"""The name of the stored column that has the target."""
ALWAYS: Final = "always"
"""The value of ``known`` for an input whose rows do not change with time."""
REST: Final = "rest"
"""The condition of the last split by cut-off times: all rows that no earlier split has."""
MEAN, DROP, INDICATOR = "mean", "drop", "indicator"
"""The rules of ``nulls`` besides a constant."""
_NOT_OF_ROWS: Final = frozenset({"name", "expect"})
_MAPS: Final = ("known", "nulls")


@dataclass(frozen=True, slots=True)
class HashSplits:
    """Splits by a hash of the columns ``by`` (empty: the key), with a weight for each split; the weights sum to 1."""

    weights: Mapping[str, float]
    by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CutSplits:
    """Splits by the moment of prediction: a row belongs to the first split whose condition its ``at`` fulfils.

    A condition is a comparison with a date or time, such as ``< 2013-09-01``, or ``rest``.
    """

    conditions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Expectations:
    """Limits that stop a preparation before it is published; None is no limit."""

    rows_min: int | None = None
    dropped_max_percent: float | None = None
    target_share: tuple[float, float] | None = None
    """The least and the largest share of the class true; the mean of a target that is a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """All decisions of a user about one training dataset, checked for form but not against the inputs.

    ``inputs`` maps each alias of the query to a dataset, or to ``NAME@VERSION`` or ``NAME@TAG``; the first is the main
    input. ``features`` is None for all other columns of numbers, and the categories.
    """

    name: str
    inputs: Mapping[str, str]
    query: str
    key: tuple[str, ...]
    target: str
    splits: HashSplits | CutSplits
    at: str | None = None
    known: Mapping[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    features: tuple[str, ...] | None = None
    categories: tuple[str, ...] = ()
    nulls: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    seed: int = 0
    expect: Expectations = Expectations()

    @property
    def main(self) -> str:
        """Return the alias of the main input."""
        return next(iter(self.inputs))

    def row_fields(self) -> dict[str, Any]:
        """Return, as plain JSON, the fields that can change rows or recipe.

        The order of the inputs counts, because the first is the main input; so ``inputs`` is a list of pairs.
        """
        fields = {name: value for name, value in asdict(self).items() if name not in _NOT_OF_ROWS}
        return {**fields, "inputs": [list(pair) for pair in self.inputs.items()]}

    def to_json(self) -> dict[str, Any]:
        """Return all fields as plain JSON, for the tasks of a run.

        Maps are lists of pairs: the order of the splits decides the rows, and JSON columns of PostgreSQL lose it.
        """
        fields = {"name": self.name, **self.row_fields(), "expect": asdict(self.expect)}
        splits = {name: _pairs(value) for name, value in fields["splits"].items()}
        return {**fields, "splits": splits, **{name: _pairs(fields[name]) for name in _MAPS}}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the preparation of the JSON of ``to_json``."""
        lists = {name: tuple(value[name]) for name in ("key", "after", "categories")}
        maps = {name: dict(value[name]) for name in ("inputs", *_MAPS)}
        splits = value["splits"]
        features, share = value["features"], value["expect"]["target_share"]
        return cls(
            **{
                **value,
                **lists,
                **maps,
                "features": None if features is None else tuple(features),
                "splits": _cut_splits(splits) if "conditions" in splits else _hash_splits(splits),
                "expect": Expectations(**{**value["expect"], "target_share": None if share is None else tuple(share)}),
            }
        )


def _hash_splits(value: Mapping[str, Any]) -> HashSplits:
    return HashSplits(dict(value["weights"]), tuple(value["by"]))


def _cut_splits(value: Mapping[str, Any]) -> CutSplits:
    return CutSplits(dict(value["conditions"]))


def _pairs(value: Any) -> Any:
    return [list(pair) for pair in value.items()] if isinstance(value, Mapping) else value
