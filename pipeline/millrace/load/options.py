"""The options of a load that the user chooses."""

from __future__ import annotations

from dataclasses import dataclass, field

from millrace.sources import NO_BAD_ROWS, BadRowBudget, Contract, SourceOptions

MODES = ("replace", "append", "incremental")
ON_CHANGE = ("refuse", "append", "ignore")


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """Options of a load that the user chooses: how to read the source (``source``) and how to make chunks.

    * ``bad_rows``: the rows that may be set aside because they do not fit their format, their types or the contract.
    * ``contract``: the reaction to columns and types that differ from the latest version. None for a load by hand.
    * ``on_change``: the reaction of an incremental load to a loaded file whose content changed: ``refuse``, ``append``
      or ``ignore``.
    * ``skip_unchanged``: whether a source that is unchanged since the latest version makes no version.
    * ``max_files``, ``max_bytes``: the largest number and total size of the source's files; None is no limit.
    * ``roots``: the folders below which each local file must be when it is opened; None is no restriction.
    """

    mode: str = "replace"
    source: SourceOptions = field(default_factory=SourceOptions)
    codec: str | None = None
    codec_level: int | None = None
    chunk_bytes: int | None = None
    bad_rows: BadRowBudget = NO_BAD_ROWS
    contract: Contract | None = None
    on_change: str = "refuse"
    skip_unchanged: bool = False
    max_files: int | None = None
    max_bytes: int | None = None
    roots: tuple[str, ...] | None = None
