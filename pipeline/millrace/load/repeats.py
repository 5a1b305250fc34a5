"""Reject a repeated run whose content has changed, and a path that a dataset of files already holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from millrace.dataset import ChunkDecoder, ChunkSource, Scan
from millrace.errors import SourceChangedError, SourceFormatError
from millrace.settings import ReadSettings
from millrace.sources import BYTES_SCHEMA, SourcePlan, read_content
from millrace.store import Catalogue, ChunkReader, PageRef, Version


def check_same_content(source: SourcePlan, published: Version) -> None:
    """Raise ``SourceChangedError`` unless the source has the CRC-32 recorded by this load's version.

    Names, sizes and times are equal already, or it would be another load. Reads the source once. A version without a
    checksum is taken as equal.
    """
    expected = published.source.get("crc32")
    content = expected and read_content(source.files)
    if not content or f"{content.crc32:08x}" == expected:
        return
    raise SourceChangedError(
        f"{source.uri} differs from the source that the run {published.run!r} loaded as {published.reference}, "
        f"although its names, sizes and times are equal: its CRC-32 was {expected} and is {content.crc32:08x}",
        hint="load it as another run (--run-id)",
        file=source.uri,
        dataset=published.dataset,
        run=published.run,
        expected=expected,
        actual=f"{content.crc32:08x}",
    )


class PathSet:
    """Paths of files and folders that may not occur twice, nor as both a file and a folder."""

    def __init__(self, paths: Iterable[str] = ()) -> None:
        self._paths: set[str] = set()
        self._folders: set[str] = set()
        self.add(paths)

    def add(self, paths: Iterable[str]) -> None:
        """Add paths to the set."""
        for path in paths:
            self._paths.add(path)
            self._folders.update(_folders_of(path))

    def clash(self, path: str) -> bool:
        """Return whether a file of this path conflicts with the paths of the set; equal empty folders do not."""
        if path.endswith("/"):
            return path[:-1] in self._paths or any(above in self._paths for above in _folders_of(path))
        return path in self._paths or path in self._folders or any(above in self._paths for above in _folders_of(path))


def check_paths(catalogue: Catalogue, version: Version, paths: Iterable[str]) -> None:
    """Raise ``SourceFormatError`` if the version holds one of these paths: files are read back by path.

    Reads the path column of the whole version, which has one value for each piece of a file.
    """
    given = PathSet(paths)
    for path in _paths_of(catalogue, version, catalogue.pages.each_ref(version)):
        if given.clash(path):
            raise _twice(version, path)


def check_added_paths(catalogue: Catalogue, siblings: Sequence[Version], pages: Sequence[PageRef]) -> None:
    """Raise ``SourceFormatError`` if two of the appends that are to be merged added the same path.

    ``pages`` are the pages of all of them. Pages that every sibling holds are older than these appends and are skipped.
    """
    shared = set.intersection(*(set(catalogue.pages.refs(sibling)) for sibling in siblings))
    added: dict[str, list[PageRef]] = {}
    for page in pages:
        if page not in shared:
            added.setdefault(page.added_by, []).append(page)
    before = PathSet()
    for own in added.values():
        paths = list(_paths_of(catalogue, siblings[0], own))
        if twice := next(filter(before.clash, paths), None):
            raise _twice(siblings[0], twice)
        before.add(paths)


def _paths_of(catalogue: Catalogue, version: Version, pages: Iterable[PageRef]) -> Iterator[str]:
    """Yield the paths in these pages of a dataset of files, once for consecutive pieces of one file."""
    refs = (ref for page in pages for ref in catalogue.pages.page(version.dataset, page).refs())
    reader = ChunkReader(catalogue.reader.cassandra)
    last = ""
    source = ChunkSource(reader, None, ChunkDecoder(BYTES_SCHEMA, version.layout, [0]))
    for batch in Scan(source, ReadSettings()).batches(refs):
        for path in batch.column(0).to_pylist():
            if path != last:
                yield path
            last = path


def _twice(version: Version, path: str) -> SourceFormatError:
    return SourceFormatError(
        f"{version.reference} has the path {path!r} already, and may have each path only once",
        hint="rename the file, load it with mode replace, or load it as another dataset",
        file=path,
        dataset=version.dataset,
    )


def _folders_of(path: str) -> list[str]:
    parts = path.removesuffix("/").split("/")
    ends = range(1, len(parts) + path.endswith("/"))
    return ["/".join(parts[:end]) for end in ends]
