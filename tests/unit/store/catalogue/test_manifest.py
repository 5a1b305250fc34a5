"""References to pages and chunks: JSON, sums and page numbers."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from millrace.store.catalogue.manifest import ChunkRef, PageRef, TileRef, journal_number


@given(
    st.uuids(), st.integers(-5, 10**6), st.integers(0, 10**6), st.binary(min_size=16, max_size=16), st.text(max_size=10)
)
def test_a_page_reference_survives_json(writer: UUID, page: int, number: int, checksum: bytes, label: str) -> None:
    ref = PageRef(writer, page, number, number + 1, number + 2, number + 3, checksum, label)
    assert PageRef.from_json(ref.to_json()) == ref
    assert all(isinstance(value, int | str) for value in ref.to_json())


def test_a_chunk_reference_adds_up_its_tiles() -> None:
    sizes: list[Any] = [TileRef("gzip", 10, 5, b"", b""), TileRef("none", 7, 7, b"", b"")]
    ref = ChunkRef("flights", uuid4(), 1, 2, 3, tuple(sizes))
    assert (ref.raw_bytes, ref.stored_bytes) == (17, 12)
    assert str(ref).startswith("flights/")
    assert str(ref).endswith("/1/2")


@given(st.integers(0, 1000))
def test_the_numbers_of_journal_pages_are_negative_and_each_is_used_once(position: int) -> None:
    ref = PageRef(UUID(int=1), journal_number(position), 1, 1, 1, 1, b"")
    assert ref.is_journal
    assert not PageRef(UUID(int=1), position, 1, 1, 1, 1, b"").is_journal
    assert -1 - ref.page == position
