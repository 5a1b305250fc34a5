"""Find the deleted inputs of a deleted version, which are restored before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from millrace.errors import VersionNotFoundError
from millrace.names import parse_reference
from millrace.store.catalogue.recoverable import UnrecoverableReason
from millrace.store.catalogue.version import Version

ReadVersions = Callable[[str], list[Version]]
FindReason = Callable[[Version], UnrecoverableReason | None]


def require_inputs(versions: ReadVersions, version: Version, reason: FindReason) -> None:
    """Raise ``VersionNotFoundError`` if an input of the version is deleted; name the inputs to restore first, in order.

    ``versions`` reads all versions of a dataset. ``reason`` is why the deletion of a version cannot be undone.
    """
    read = cache(versions)
    missing = list(dict.fromkeys(_deleted_inputs(read, version)))
    if not missing:
        return
    for reference in missing:
        found = _find(read, reference)
        why = UnrecoverableReason("its data was removed") if found is None else reason(found)
        if why is not None:
            raise _error(version, [reference], f", which cannot be restored: {why.text}", "make the version again")
    hint = f"restore {'it' if len(missing) == 1 else 'them'} first: "
    raise _error(version, missing, ", deleted too", hint + "; ".join(f"millrace undelete {key}" for key in missing))


def _deleted_inputs(read: ReadVersions, version: Version) -> list[str]:
    """Return the inputs that are not visible, each behind its own."""
    deleted: list[str] = []
    for reference in version.inputs.values():
        found = _find(read, reference)
        if found is None or found.deleted_at is not None:
            deleted += [*([] if found is None else _deleted_inputs(read, found)), reference]
    return deleted


def _find(read: ReadVersions, reference: str) -> Version | None:
    name, selector = parse_reference(reference)
    return next((version for version in read(name) if version.label == str(selector)), None)


def _error(version: Version, inputs: Sequence[str], end: str, hint: str) -> VersionNotFoundError:
    return VersionNotFoundError(
        f"{version.reference} cannot be undeleted, because it was made from {', '.join(inputs)}{end}",
        hint=hint,
        dataset=version.dataset,
        version=version.label,
    )
