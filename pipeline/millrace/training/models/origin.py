"""The data, function and seed of a model, by which an equal training is recognized."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from millrace.training.models.function import digest_of, name_of

_SETTING: Final = "model"
"""The setting of a version with the origin of the model; other datasets do not have it."""


@dataclass(frozen=True, slots=True)
class ModelOrigin:
    """The version that a model is trained on, the function, and the seed."""

    data: str
    """The full reference of the training data, such as ``late_arrivals@3-4d5e6f``."""
    function: str
    seed: int
    fingerprint: str
    """A hash of all three, with the source of the function; empty if the source is not known."""

    @classmethod
    def of(cls, function: Callable[..., object], data: str, seed: int) -> Self:
        """Return the origin of a training by this function."""
        name, digest = name_of(function), digest_of(function)
        facts = json.dumps([data, name, digest, seed])
        return cls(data, name, seed, hashlib.sha256(facts.encode()).hexdigest() if digest else "")

    def settings(self) -> dict[str, Any]:
        """Return the settings of the version of the model."""
        model = {"function": self.function, "seed": self.seed, "fingerprint": self.fingerprint}
        return {"inputs": {"data": self.data}, _SETTING: model}

    def made(self, settings: Mapping[str, Any]) -> bool:
        """Return whether a version with these settings has this origin; never if the source is not known."""
        stored = settings.get(_SETTING, {}).get("fingerprint")
        return bool(self.fingerprint) and stored == self.fingerprint


def is_model(settings: Mapping[str, Any]) -> bool:
    """Return whether a version with these settings is a model."""
    return _SETTING in settings
