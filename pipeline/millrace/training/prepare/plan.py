"""The plan of a preparation: the exact versions of its inputs, and the label of its version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import pyarrow as pa

from millrace.chunks import ChunkSettings, TileLayout
from millrace.load import LoadPlan
from millrace.sources import SourceOptions, SourcePlan
from millrace.training.prepare.entry import Preparation

ALGORITHM: Final = 1
"""The number of the preparation's algorithm; another number makes a new version of unchanged inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparePlan:
    """All decisions of a preparation before a row is read; equal plans give equal rows and an equal recipe.

    ``inputs`` has the exact version of each alias, such as ``flights@12-3fa9c1``. ``number`` and ``hex`` are the label
    of the new version. ``published`` is true if this run has made its version already, and ``unchanged`` if the latest
    version was made from the same inputs by the same declaration. ``holder`` is then that version.
    """

    preparation: Preparation
    run: str
    inputs: Mapping[str, str]
    fingerprint: str
    number: int
    hex: str
    parent: str | None = None
    published: bool = False
    unchanged: bool = False
    holder: str = ""

    @property
    def dataset(self) -> str:
        """Return the name of the training dataset."""
        return self.preparation.name

    @property
    def label(self) -> str:
        """Return the label of the version, like ``12-3fa9c1``."""
        return f"{self.number}-{self.hex}"

    @property
    def is_done(self) -> bool:
        """Return whether there is nothing to prepare."""
        return self.published or self.unchanged

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON, to be passed from task to task; the inputs are pairs, so that their order is kept."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {
            **fields,
            "preparation": self.preparation.to_json(),
            "inputs": [list(pair) for pair in self.inputs.items()],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the plan of the JSON of ``to_json``."""
        preparation = Preparation.from_json(value["preparation"])
        return cls(**{**value, "preparation": preparation, "inputs": dict(value["inputs"])})

    def load_plan(self, schema: pa.Schema, layout: TileLayout, chunks: ChunkSettings) -> LoadPlan:
        """Return the plan of a load that writes the prepared rows as a new version, which replaces the one before."""
        source = SourcePlan(
            uri=f"prepared from {', '.join(self.inputs.values())}",
            format="prepared",
            kind="table",
            schema=schema,
            files=(),
            splits=(),
            total_bytes=0,
            total_rows=None,
            options=SourceOptions(),
            is_copy=True,  # it has no file that exists outside of this run
        )
        return LoadPlan(
            dataset=self.dataset,
            mode="replace",
            run=self.run,
            number=self.number,
            hex=self.hex,
            parent=self.parent,
            fingerprint=self.fingerprint,
            source=source,
            chunks=chunks,
            layout=layout,
            published=self.published,
            holder=self.holder,
            unchanged=self.unchanged,
        )

    @property
    def settings(self) -> dict[str, Any]:
        """Return the settings of the version besides those of its chunks."""
        return {"inputs": dict(self.inputs), "prepared": self.fingerprint}
