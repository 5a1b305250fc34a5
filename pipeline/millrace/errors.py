"""Every error that Millrace raises on purpose.

::

    MillraceError
    ├── UsageError                    the call itself is wrong (exit code 2)
    │   ├── InvalidNameError          a dataset, version or tag name outside its alphabet
    │   └── InvalidSettingError       a setting outside its range, by name
    ├── DeclarationError              a file of declarations or one of its entries: with file, line and field
    ├── SourceError                   the source cannot be loaded as it is
    │   ├── SourceNotFoundError
    │   ├── SourceUnreadableError     exists, but cannot be read (rights, not a regular file)
    │   ├── SourceUnavailableError    a remote one whose server does not respond (retriable)
    │   ├── SourceEmptyError          a directory or pattern that holds no data
    │   ├── SourceCorruptError        cut short or damaged
    │   ├── SourceFormatError         a ragged row, an open quote, invalid UTF-8: with its line
    │   ├── SourceTypeError           a column that changes its type: both types, its line, the option
    │   ├── SourceTooLargeError       a unit that must be read at once and is over the limit
    │   ├── SourceChangedError        changed while it was read
    │   └── BadRowsError              more bad rows than the budget allows
    ├── ChunkError
    │   ├── RowTooLargeError          one row that no chunk can hold
    │   ├── ChunkFormatError          stored bytes that are not a valid chunk
    │   └── ChecksumMismatchError     stored or raw bytes that differ from the written ones
    ├── StoreError
    │   ├── StoreUnavailableError     no node responds, or too few (retriable)
    │   ├── StoreTimeoutError         no response within the deadline (retriable)
    │   ├── StoreSchemaError          keyspace or tables missing, of another version, or another RF
    │   ├── DatasetNotFoundError
    │   ├── VersionNotFoundError
    │   ├── RunNotFoundError          a run of which no report is kept
    │   ├── ChunkMissingError         referenced by a manifest, on no responding node (retriable: a node may be down)
    │   ├── PlanChangedError          a resumed load whose source, schema or settings are not the same
    │   └── LoadSupersededError       an incremental load whose files another load has loaded at the same moment
    ├── CacheError                    never raised by a read: it uses Cassandra instead
    ├── ProgressError                 never raised by a task: its work continues
    ├── OutputError                   the data read cannot be written to its destination
    ├── StackError                    a local service that cannot be started or reached
    └── LoadInterruptedError          stopped by a user; the message names the way to resume

Each message states the failure, its place and a remedy. ``context`` holds the facts (dataset, version, chunk, tile,
node, expected, actual, file, line, ...). ``retriable`` is true if the same call may succeed later. All errors survive
pickling, because Airflow and process pools pass them between processes.
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "BadRowsError",
    "CacheError",
    "ChecksumMismatchError",
    "ChunkError",
    "ChunkFormatError",
    "ChunkMissingError",
    "DatasetNotFoundError",
    "DeclarationError",
    "InvalidNameError",
    "InvalidSettingError",
    "LoadInterruptedError",
    "LoadSupersededError",
    "MillraceError",
    "OutputError",
    "PlanChangedError",
    "ProgressError",
    "RowTooLargeError",
    "RunNotFoundError",
    "SourceChangedError",
    "SourceCorruptError",
    "SourceEmptyError",
    "SourceError",
    "SourceFormatError",
    "SourceNotFoundError",
    "SourceTooLargeError",
    "SourceTypeError",
    "SourceUnavailableError",
    "SourceUnreadableError",
    "StackError",
    "StoreError",
    "StoreSchemaError",
    "StoreTimeoutError",
    "StoreUnavailableError",
    "UsageError",
    "VersionNotFoundError",
]


class MillraceError(Exception):
    """Base of all errors: the failure, its subject and a remedy in one line, and the facts in ``context``.

    ``hint`` is the sentence with the remedy; it is appended to the message when shown.
    """

    retriable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "", **context: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.context = {key: value for key, value in context.items() if value is not None}

    def __str__(self) -> str:
        return f"{self.message}: {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.message, self.hint, self.context)


def _restore(cls: type[MillraceError], message: str, hint: str, context: dict[str, Any]) -> MillraceError:
    return cls(message, hint=hint, **context)


class UsageError(MillraceError):
    """The call itself is wrong, independent of the state of source and cluster."""


class InvalidNameError(UsageError):
    """A dataset, version or tag name outside its alphabet."""


class InvalidSettingError(UsageError):
    """A setting outside its allowed range; names the setting, the value and the range."""


class DeclarationError(MillraceError):
    """A file of declarations, or one of its entries, is wrong; ``context`` has ``file``, ``line`` and ``field``."""


class SourceError(MillraceError):
    """The source cannot be loaded as it is."""


class SourceNotFoundError(SourceError):
    """There is nothing at the path or pattern given."""


class SourceUnreadableError(SourceError):
    """The source is there but cannot be read: no permission, or not a regular file."""


class SourceUnavailableError(SourceError):
    """The server of a remote source does not respond, or ended every attempt to read it."""

    retriable: ClassVar[bool] = True


class SourceEmptyError(SourceError):
    """A directory or pattern that holds no data."""


class SourceCorruptError(SourceError):
    """The source is cut short or damaged."""


class SourceFormatError(SourceError):
    """The source violates its own format; the message names file and line."""


class SourceTypeError(SourceError):
    """A column changes its type; the message names the place, both types and the option to use."""


class SourceTooLargeError(SourceError):
    """A unit that must be read at once is larger than the limit."""


class SourceChangedError(SourceError):
    """The source changed between planning and reading, or while it was read."""


class BadRowsError(SourceError):
    """The source has more bad rows than the budget of the load allows; ``context`` has the first reasons."""


class ChunkError(MillraceError):
    """A chunk cannot be encoded or decoded."""


class RowTooLargeError(ChunkError):
    """One row alone is larger than a chunk may be."""


class ChunkFormatError(ChunkError):
    """Stored bytes that are not a chunk as the manifest describes it."""


class ChecksumMismatchError(ChunkError):
    """Bytes that differ from the written ones; names the stage (stored or raw), expected and actual."""


class StoreError(MillraceError):
    """Cassandra, or the data in it, does not allow the operation."""


class StoreUnavailableError(StoreError):
    """No node responds, or fewer than the operation needs."""

    retriable: ClassVar[bool] = True


class StoreTimeoutError(StoreError):
    """No response within the deadline."""

    retriable: ClassVar[bool] = True


class StoreSchemaError(StoreError):
    """Keyspace or tables are missing, of another schema version, or of another replication factor."""


class DatasetNotFoundError(StoreError):
    """No dataset of that name has a visible version."""


class VersionNotFoundError(StoreError):
    """The dataset exists, but the requested version does not."""


class RunNotFoundError(StoreError):
    """No report of the run is kept, or it has expired."""


class ChunkMissingError(StoreError):
    """A manifest references a chunk that no responding node has; names the unresponsive node, if any."""

    retriable: ClassVar[bool] = True


class PlanChangedError(StoreError):
    """A load cannot be resumed because its source, schema or settings differ from those it began with."""


class ExpectationError(MillraceError):
    """Prepared data exceeds a limit of its declaration (``expect``); nothing was published."""


class LoadSupersededError(StoreError):
    """Another load has loaded files of an incremental load at the same moment; the next run loads the other files."""


class CacheError(MillraceError):
    """Redis failed to execute a command; a read uses Cassandra instead of raising this."""

    retriable: ClassVar[bool] = True


class ProgressError(MillraceError):
    """Progress could not be reported; the reporting task does not fail because of it."""

    retriable: ClassVar[bool] = True


class OutputError(MillraceError):
    """Data that was read cannot be written to its destination: no space, no permission, no such device."""


class StackError(MillraceError):
    """A service of the local stack cannot be started, stopped or reached."""


class LoadInterruptedError(MillraceError):
    """A user stopped the load; no version was made, and the message names the way to resume."""
