"""The state of a loader: small JSON that restores every rank, on any world size and batch size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from millrace.errors import UsageError
from millrace.training.order import OrderSpec, Shuffle, Tail

_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "version": (str,),
    "split": (str, type(None)),
    "seed": (int,),
    "epoch": (int,),
    "algorithm": (int,),
    "lanes": (int,),
    "shuffle": (str,),
    "window": (int,),
    "tail": (str,),
    "rows": (int,),
}
"""The keys of the JSON object, with their types."""


@dataclass(frozen=True)
class LoaderState:
    """An order and the position in it.

    ``rows`` counts the rows that every lane has handed out in ``epoch``. Prefetched batches do not count.
    """

    spec: OrderSpec
    tail: Tail
    epoch: int = 0
    rows: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the state as a JSON object of at most 300 bytes."""
        return {
            "version": self.spec.version,
            "split": self.spec.split,
            "seed": self.spec.seed,
            "epoch": self.epoch,
            "algorithm": self.spec.algorithm,
            "lanes": self.spec.lanes,
            "shuffle": str(self.spec.shuffle),
            "window": self.spec.window_chunks,
            "tail": str(self.tail),
            "rows": self.rows,
        }

    @classmethod
    def from_json(cls, document: object) -> LoaderState:
        """Return the state of a JSON object; raise ``UsageError`` for a document that is not a loader's state."""
        values = checked_fields(document, _TYPES, {"shuffle": Shuffle, "tail": Tail}, _refusal)
        spec = OrderSpec(
            version=values["version"],
            split=values["split"],
            seed=values["seed"],
            lanes=values["lanes"],
            shuffle=Shuffle(values["shuffle"]),
            window_chunks=values["window"],
            algorithm=values["algorithm"],
        )
        return cls(spec, Tail(values["tail"]), values["epoch"], values["rows"])

    def check(self, other: LoaderState) -> None:
        """Raise ``UsageError`` unless ``other`` is a position in the same order; name the field that differs."""
        mine, theirs = self.to_json(), other.to_json()
        for name in _TYPES:
            if name not in ("epoch", "rows") and mine[name] != theirs[name]:
                raise UsageError(
                    f"the state has {name} {theirs[name]!r}, but the loader has {name} {mine[name]!r}",
                    hint="open the loader with store.resume(state), or with the options of the state",
                    field=name,
                    expected=mine[name],
                    actual=theirs[name],
                )


def checked_fields(
    document: object,
    types: Mapping[str, tuple[type, ...]],
    choices: Mapping[str, type[StrEnum]],
    refusal: Callable[[str], UsageError],
) -> Mapping[str, Any]:
    """Return the document if it has the keys, types and values of a state, else raise the ``refusal`` of a reason."""
    if not isinstance(document, Mapping):
        raise refusal(f"it is {type(document).__name__}, not an object")
    if document.keys() != types.keys():
        names = ", ".join(sorted(map(str, document.keys() ^ types.keys())))
        raise refusal(f"its keys differ in {names}")
    for name, allowed_types in types.items():
        if type(document[name]) not in allowed_types:
            raise refusal(f"{name} is {document[name]!r}")
    for name, allowed in choices.items():
        if document[name] not in list(allowed):
            raise refusal(f"{name} is {document[name]!r}, not one of {', '.join(allowed)}")
    if min(document["epoch"], document["rows"]) < 0:
        raise refusal("epoch or rows is negative")
    return document


def _refusal(reason: str) -> UsageError:
    return UsageError(f"this is not the state of a loader: {reason}", hint="pass the result of loader.state_dict()")
