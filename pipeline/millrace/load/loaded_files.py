"""Write the list of the files that a version's line has loaded. Full pages are shared with its parent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from millrace.load.file_selection import full_uri
from millrace.load.plan import LoadPlan
from millrace.load.split_result import SplitResult
from millrace.sources import STANDARD_INPUT, SourceChecksum, SourceFile, SourcePlan
from millrace.store import (
    LIST_FILES,
    Catalogue,
    CatalogueWriter,
    ListRef,
    LoadedFile,
    Version,
    encode_files,
    encode_pages_blob,
    files_in_pages,
)

_FILES_BLOB_PAGE = -4
_FILES_PAGE = -5


@dataclass(frozen=True, slots=True)
class FileListing:
    """The list of a version: the pages ``lists``, then ``files``. ``last`` is the page with the first of ``files``."""

    lists: tuple[ListRef, ...] = ()
    files: tuple[LoadedFile, ...] = ()
    last: ListRef | None = None

    @classmethod
    def of(cls, catalogue: Catalogue, version: Version | None) -> FileListing:
        """Return the list with which an append to the version begins. Only a last page that is not full is read."""
        lists = [] if version is None else catalogue.pages.file_lists(version)
        if version is None or not lists or lists[-1].entries == LIST_FILES:
            return cls(tuple(lists))
        return cls(tuple(lists[:-1]), catalogue.pages.file_list(version.dataset, lists[-1]), lists[-1])

    @classmethod
    def shared(
        cls, catalogue: Catalogue, dataset: str, lists: Sequence[Sequence[ListRef]], files: Sequence[LoadedFile]
    ) -> FileListing:
        """Return the list of ``files``, with the pages with which all of ``lists`` and ``files`` begin."""
        common: list[ListRef] = []
        start = 0
        for first, *others in zip(*lists, strict=False):
            page = catalogue.pages.file_list(dataset, first)
            if any(other != first for other in others) or tuple(files[start : start + len(page)]) != page:
                break
            common.append(first)
            start += len(page)
        last = common.pop() if common and common[-1].entries < LIST_FILES else None
        return cls(tuple(common), tuple(files[start - (last.entries if last else 0) :]), last)

    def followed_by(self, files: Iterable[LoadedFile]) -> FileListing:
        """Return the list with these files after all others."""
        return replace(self, files=(*self.files, *files))

    def write(self, catalogue_writer: CatalogueWriter, dataset: str, label: str) -> tuple[bytes | None, int]:
        """Write the list and return the column ``files`` of the version's row, and the number of proven replicas.

        The column is None if the list is empty. The written data depends on the list and the label alone.
        """
        lists, proven = list(self.lists), [2]
        for position, page in enumerate(files_in_pages(self.files)):
            if position == 0 and self.last is not None and len(page) == self.last.entries:
                lists.append(self.last)  # nothing was added to it
                continue
            sums = {"chunks": 0, "rows": len(page), "raw_bytes": 0, "stored_bytes": 0}
            attempt_id, checksum, replicas = catalogue_writer.write_page_by_content(
                dataset, label, _FILES_PAGE, encode_files(page), sums
            )
            lists.append(ListRef(attempt_id, _FILES_PAGE, len(page), checksum))
            proven.append(replicas)
        if not lists:
            return None, min(proven)
        blob, replicas = catalogue_writer.store_out_of_line(
            dataset, label, _FILES_BLOB_PAGE, encode_pages_blob(lists, ())
        )
        return blob, min(*proven, replicas)


def has_file_list(source: SourcePlan) -> bool:
    """Return whether the files of the source exist outside of this load, so that a version lists them."""
    return source.uri != STANDARD_INPUT and not source.is_copy


def added_files(plan: LoadPlan, results: Sequence[SplitResult]) -> list[LoadedFile]:
    """Return the files that a load adds to the list of its version.

    The parts of a file in several splits are combined. A file of which not all bytes were read has no CRC-32.
    """
    if plan.replays or not has_file_list(plan.source):  # the files of a replay are temporary
        return []
    contents: dict[int, SourceChecksum] = {}
    for result in results:
        splits = plan.source.splits if result.split < 0 else plan.source.splits[result.split : result.split + 1]
        numbers = range(splits[0].files[0], splits[-1].files[-1] + 1)
        for number, content in zip(numbers, result.contents or (), strict=result.contents is not None):
            contents[number] = contents.get(number, SourceChecksum()).followed_by(content)
    return [
        LoadedFile(full_uri(file), *file.facts, _crc32(file, contents.get(number)), plan.label)
        for number, file in enumerate(plan.source.files)
    ]


def _crc32(file: SourceFile, content: SourceChecksum | None) -> int | None:
    if content is None or (content.size_bytes != file.size_bytes and not file.has_unknown_size):
        return None
    return content.crc32
