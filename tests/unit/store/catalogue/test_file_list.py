"""Pages of the list of loaded files: encoded, decoded, checked, and cut into full pages."""

from __future__ import annotations

import random
from dataclasses import replace
from uuid import UUID

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from millrace.errors import ChecksumMismatchError, ChunkFormatError
from millrace.store import LIST_FILES, ListRef, LoadedFile, encode_files, files_in_pages
from millrace.store.catalogue.file_list import decode_files


def file(number: int, uri: str = "") -> LoadedFile:
    return LoadedFile(uri or f"/data/{number}.csv", number, number * 10**9, str(number), number, "1-abcdef")


def ref(data: bytes, entries: int) -> ListRef:
    return ListRef(UUID(int=9), -5, entries, xxhash.xxh3_128_digest(data))


FILES = st.builds(
    LoadedFile,
    st.text(max_size=40).filter(lambda text: text.isprintable()),
    st.integers(0, 2**62),
    st.integers(-(2**62), 2**62),
    st.text(max_size=40).filter(lambda text: text.isprintable()),
    st.none() | st.integers(0, 2**32 - 1),
    st.just("3-00aa11"),
)


@given(files=st.lists(FILES, min_size=1, max_size=20))
def test_files_are_decoded_as_they_were_encoded(files: list[LoadedFile]) -> None:
    data = encode_files(files)
    assert decode_files("d", ref(data, len(files)), data) == tuple(files)


def test_a_page_with_other_bytes_or_another_number_of_files_is_refused() -> None:
    data = encode_files([file(1), file(2)])
    with pytest.raises(ChecksumMismatchError):
        decode_files("d", ref(data, 2), data[:-1] + b"x")
    with pytest.raises(ChunkFormatError, match="a list of d has 2 files, not 3"):
        decode_files("d", replace(ref(data, 2), entries=3), data)


@pytest.mark.parametrize("count", [0, 1, LIST_FILES - 1, LIST_FILES, LIST_FILES + 1, 10_000])
def test_every_page_but_the_last_is_full(count: int) -> None:
    files = [file(number) for number in range(count)]
    pages = list(files_in_pages(files))
    assert [one for page in pages for one in page] == files
    assert all(len(page) == LIST_FILES for page in pages[:-1])
    assert all(pages)


def test_files_with_long_names_are_in_pages_of_less_than_1_mb() -> None:
    noise = [f"/{random.Random(n).randbytes(2_000).hex()}" for n in range(500)]
    files = [file(number, uri) for number, uri in enumerate(noise)]
    pages = list(files_in_pages(files))
    assert [one for page in pages for one in page] == files
    assert len(pages) > 1
    assert all(len(encode_files(page)) < 1_000_000 for page in pages)
    # Pages are cut from the front, so more files do not change the pages before the last one.
    assert list(files_in_pages([*files, file(1)]))[:-1] == pages[:-1]
