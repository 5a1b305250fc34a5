"""Records of the cached parts: their stored form, their names and their share."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from millrace.cache.parts import Admission, CachedPart, pack_part, unpack_part
from millrace.cache.values import Form

PART = CachedPart("flights", "1-aaaaaa", Form.RAW, "train", ("a", "b c"), 3, 12, 100, datetime.now(UTC))


def test_a_part_survives_packing_and_an_invalid_one_is_ignored() -> None:
    assert unpack_part(pack_part(PART)) == PART
    for other in (replace(PART, warmed_at=datetime.now(UTC)), replace(PART, split=None, columns=None)):
        assert unpack_part(pack_part(other)) == other
    for strange in (b"", b"[]", b"{}", b'{"dataset": "x"}', b"\xff", pack_part(PART).replace(b"raw", b"new")):
        assert unpack_part(strange) is None


def test_a_part_with_a_time_without_a_zone_is_ignored() -> None:
    stored = pack_part(replace(PART, admitted_at=datetime(2026, 11, 22, tzinfo=UTC)))
    assert b"2026-11-22T00:00:00Z" in stored
    assert unpack_part(stored.replace(b"00:00Z", b"00:00")) is None


def test_an_entry_of_an_older_program_is_ignored() -> None:
    stored = (
        b'{"dataset": "flights", "version": "1-aaaaaa", "chunks": 3, "bytes": 100, '
        b'"admitted_at": "2026-11-22T10:00:00.123456+00:00", "warmed_at": null}'
    )
    assert unpack_part(stored) is None


def test_the_field_of_a_part_begins_with_version_and_form_and_differs_by_split_and_columns() -> None:
    others = [replace(PART, form=Form.STORED), replace(PART, split=None), replace(PART, columns=None)]
    assert PART.field.startswith("flights@1-aaaaaa raw ")
    assert len({part.field for part in [PART, *others]}) == 4
    assert replace(PART, chunks=12).field == PART.field


@pytest.mark.parametrize(("chunks", "total", "share"), [(3, 12, 0.25), (0, 12, 0.0), (12, 12, 1.0), (0, 0, 1.0)])
def test_the_share_is_the_fraction_of_the_chunks(chunks: int, total: int, share: float) -> None:
    part = replace(PART, chunks=chunks, total_chunks=total)
    assert part.share == share
    assert part.to_json()["share"] == share


def test_an_admission_names_its_numbers() -> None:
    assert str(Admission(0, 1000, 500, 0, 2000)) == "needs 1,000 bytes of Redis, and 500 of 2,000 are free"
    reserved = str(Admission(0, 1000, -5, 300, 2000))
    assert reserved.endswith("and 0 of 2,000 are free (300 are reserved for versions being filled)")
