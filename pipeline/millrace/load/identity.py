"""The identity of a load: the digests by which a retry is recognized as the same load."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from typing import Any, NamedTuple

from millrace.chunks import ChunkSettings, TileLayout
from millrace.load.options import LoadOptions
from millrace.sources import SourcePlan


class Fingerprints(NamedTuple):
    """The fingerprint of a load, which is that of the source alone, and that of its plan, with the layout of chunks.

    A later attempt may find another latest version, and with it another agreement and another layout. It is the same
    load, but cannot use the chunks of the earlier attempt.
    """

    load: str
    plan: str


def fingerprints_of(
    source: SourcePlan, chunks: ChunkSettings, layout: TileLayout, options: LoadOptions
) -> Fingerprints:
    """Return the fingerprints of a load of this source with these options."""
    facts = {
        "source": source.facts(),
        # Other credentials for the same files are the same load.
        "options": replace(source.options, connection=None).to_json(),
        "mode": options.mode,
        "budget": str(options.bad_rows),
        "contract": options.contract and options.contract.to_json(),
    }
    own = TileLayout.for_schema(source.schema)
    planned = {
        "schema": base64.b64encode(source.schema.serialize().to_pybytes()).decode(),
        "chunks": chunks.to_json(),
        "layout": own.to_json(),
    }
    if options.contract is None:
        load = _digest({**facts, **planned})
        return Fingerprints(load, load if layout == own else _digest({"load": load, "layout": layout.to_json()}))
    load = _digest({**facts, "chunks": replace(chunks, row_group_bytes=None).to_json()})
    return Fingerprints(load, _digest({"load": load, **planned, "layout": layout.to_json()}))


def _digest(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
