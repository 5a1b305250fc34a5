"""The plan of a load: all decisions about source, schema, chunk settings and the label of its version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from millrace.chunks import ChunkSettings, TileLayout
from millrace.sources import SourcePlan


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """All decisions of a load; equal plans of one run are the same version.

    ``fingerprint`` covers source facts, schema, settings and mode. ``hex`` covers the run as well. ``published`` is
    true if this load is visible already. ``holder`` is then the version that holds its rows: its own or, if that was
    deleted, one that was appended to it. ``unchanged`` is true if there is nothing to load; the number and the hex are
    then those of the version that has the source's rows. ``parsing`` is the digest of the load's settings. ``replays``
    is the label of the version whose rejects the load reads again.
    """

    dataset: str
    mode: str
    run: str
    number: int
    hex: str
    parent: str | None
    fingerprint: str
    source: SourcePlan
    chunks: ChunkSettings
    layout: TileLayout
    published: bool = False
    holder: str = ""
    replays: str = ""
    unchanged: bool = False
    parsing: str = ""
    schema_changes: tuple[str, ...] = ()
    """Differences from the agreement of a contract to the planned schema, one sentence each."""

    @property
    def is_done(self) -> bool:
        """Return whether there is nothing to load: it was published before, or its source is unchanged."""
        return self.published or self.unchanged

    @property
    def appends(self) -> bool:
        """Return whether the version also has the rows of its parent."""
        return self.mode != "replace"

    @property
    def label(self) -> str:
        """Label of the version, like ``12-3fa9c1``."""
        return f"{self.number}-{self.hex}"

    @property
    def schema(self) -> pa.Schema:
        """The schema as planned; integers and nulls may still widen."""
        return self.source.schema

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON, small enough to be passed from task to task."""
        return {
            "dataset": self.dataset,
            "mode": self.mode,
            "run": self.run,
            "number": self.number,
            "hex": self.hex,
            "parent": self.parent,
            "fingerprint": self.fingerprint,
            "source": self.source.to_json(),
            "chunks": self.chunks.to_json(),
            "layout": self.layout.to_json(),
            "matrices": sorted(self.layout.matrices),
            "published": self.published,
            "holder": self.holder,
            "replays": self.replays,
            "unchanged": self.unchanged,
            "parsing": self.parsing,
            "schema_changes": list(self.schema_changes),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> LoadPlan:
        """Create the plan from the JSON of ``to_json``."""
        fields = {name: item for name, item in value.items() if name != "matrices"}
        return cls(
            **{
                **fields,
                "source": SourcePlan.from_json(value["source"]),
                "chunks": ChunkSettings.from_json(value["chunks"]),
                "layout": TileLayout.from_json(value["layout"], value["matrices"]),
                "schema_changes": tuple(value["schema_changes"]),
            }
        )
