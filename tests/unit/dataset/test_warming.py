"""Warming a version or a part of it, on an in-memory cluster."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from millrace.api import Store
from millrace.cache import Form
from millrace.dataset import WarmOptions, WarmReport, warm
from millrace.dataset.splits import METADATA_KEY
from millrace.errors import UsageError
from millrace.load import LoadOptions
from millrace.progress import null_task
from millrace.store.catalogue.manifest import ChunkRef
from tests.unit.dataset.redis_double import RedisDouble
from tests.unit.store.in_memory import cassandra, csv, settings, store

__all__ = ["cassandra", "csv", "settings", "store"]
Csv = Callable[..., str]
STORED = WarmOptions(form=Form.STORED)
RAW = WarmOptions(form=Form.RAW)


@pytest.fixture
def chunks(store: Store, csv: Csv) -> list[ChunkRef]:
    """Return the chunks of a dataset with more than three."""
    store.load("flights", csv(60_000), LoadOptions(chunk_bytes=65_536))
    refs = list(store.dataset("flights").refs())
    assert len(refs) > 3
    return refs


def warmed(store: Store, redis: Any, options: WarmOptions = STORED, reference: str = "flights") -> WarmReport:
    return warm(
        store.dataset(reference),
        store.chunk_reader,
        redis,
        switched_off="the URL is empty",
        task=null_task(),
        options=options,
    )


def test_warming_puts_every_chunk_into_the_cache_once(store: Store, chunks: list[ChunkRef]) -> None:
    redis = RedisDouble()
    first, second = warmed(store, redis), warmed(store, redis)
    assert (first.complete, first.chunks, first.already_cached, first.share) == (True, len(chunks), 0, 1.0)
    assert (second.chunks, second.already_cached) == (0, len(chunks))
    for ref in chunks:
        [name] = redis.value_names(ref, Form.STORED, None)
        assert redis.kept[name] == b"".join(store.chunk_reader.fetch(ref))


def test_the_reservation_of_each_stored_chunk_is_released(store: Store, chunks: list[ChunkRef]) -> None:
    for options in (STORED, RAW):
        redis = RedisDouble()
        warmed(store, redis, options)
        assert sorted(redis.warmings[0].released) == sorted(redis.kept)


def test_the_raw_form_holds_the_uncompressed_bytes_of_each_tile(store: Store, chunks: list[ChunkRef]) -> None:
    redis = RedisDouble()
    assert warmed(store, redis, RAW).complete
    for ref in chunks:
        for tile, stored in enumerate(store.chunk_reader.fetch(ref)):
            [name] = redis.value_names(ref, Form.RAW, [tile])
            assert redis.kept[name] == bytes(ref.tiles[tile].inflate(stored, {}))
    [(part, count, value_bytes)] = redis.completed
    assert (part.form, count, value_bytes) == (Form.RAW, len(chunks), sum(ref.raw_bytes for ref in chunks))


def test_only_the_tiles_with_the_columns_are_cached_and_in_the_raw_form(store: Store, chunks: list[ChunkRef]) -> None:
    redis = RedisDouble()
    dataset = store.dataset("flights")
    column = dataset.schema.names[0]
    report = warmed(store, redis, WarmOptions(columns=(column,)))
    assert (report.form, report.columns, report.complete) == ("raw", (column,), True)
    tiles = list(dataset.version.layout.tiles_of([0]))
    assert sorted(redis.kept) == sorted(name for ref in chunks for name in redis.value_names(ref, Form.RAW, tiles))


def test_columns_in_the_stored_form_are_refused() -> None:
    with pytest.raises(UsageError, match="the stored form holds all columns of a chunk: give --form raw"):
        WarmOptions(columns=("a",), form=Form.STORED)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (WarmOptions(columns=("nope",)), "has no column 'nope'"),
        (WarmOptions(split="train"), "has no split 'train': it has no splits"),
    ],
)
def test_an_unknown_column_or_split_is_refused_before_anything_is_cached(
    store: Store, chunks: list[ChunkRef], options: WarmOptions, message: str
) -> None:
    redis = RedisDouble()
    with pytest.raises(UsageError, match=message):
        warmed(store, redis, options)
    assert redis.warmings == []


def test_of_a_split_only_its_chunks_are_cached(
    store: Store, chunks: list[ChunkRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = store.dataset("flights")
    schema = dataset.schema.with_metadata({METADATA_KEY: json.dumps({"train": [1, 3], "test": [3, 4]})})
    monkeypatch.setattr(type(store.catalogue.pages), "schema", lambda _self, _version: schema)
    redis = RedisDouble()
    report = warmed(store, redis, WarmOptions(split="train", form=Form.STORED))
    assert (report.split, report.chunks, report.share) == ("train", 2, 1.0)
    assert list(redis.kept) == [redis.value_names(ref, Form.STORED, None)[0] for ref in chunks[1:3]]
    assert isinstance(schema, pa.Schema)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("options", [STORED, RAW], ids=["stored", "raw"])
def test_of_a_version_that_is_too_large_the_first_chunks_are_cached(
    store: Store, chunks: list[ChunkRef], options: WarmOptions, share: float
) -> None:
    sizes = [ref.stored_bytes if options is STORED else ref.raw_bytes for ref in chunks]
    count = int(share * len(chunks))
    redis = RedisDouble(admitted_bytes=sum(sizes[:count]) + 1)
    report = warmed(store, redis, options)
    assert (report.complete, report.reason, report.chunks) == (False, "it is too large", count)
    assert report.share == round(count / len(chunks), 4)
    assert redis.has(chunks, options.form or Form.STORED) == [True] * count + [False] * (len(chunks) - count)
    again = warmed(store, redis, options)
    assert again.already_cached == count


def test_a_version_of_which_no_chunk_fits_is_not_cached(store: Store, chunks: list[ChunkRef]) -> None:
    redis = RedisDouble(admitted_bytes=1)
    report = warmed(store, redis)
    assert (report.complete, report.reason, report.chunks, report.form) == (False, "it is too large", 0, "")
    assert redis.kept == {}


def test_a_version_that_redis_refuses_although_it_was_admitted_leaves_nothing_in_the_cache(
    store: Store, chunks: list[ChunkRef]
) -> None:
    redis = RedisDouble(room_bytes=sum(ref.stored_bytes for ref in chunks[:-1]) + 10)
    report = warmed(store, redis)
    assert not report.complete
    assert "only part" in report.reason
    assert redis.kept == {}
    assert redis.completed == []
    assert [part.version for part in redis.abandoned] == [store.version("flights").label]


def test_an_append_that_does_not_fit_leaves_its_parents_chunks_warm(
    store: Store, chunks: list[ChunkRef], csv: Csv
) -> None:
    redis = RedisDouble()
    warmed(store, redis)
    store.load("flights", csv(30_000, name="more.csv"), LoadOptions(mode="append", chunk_bytes=65_536))
    redis.room_bytes = 100_000
    assert not warmed(store, redis).complete
    assert redis.has(chunks) == [True] * len(chunks)
    assert len(redis.kept) == len(chunks)


def test_the_form_is_raw_where_it_fits_and_stays_as_it_is_afterwards(store: Store, chunks: list[ChunkRef]) -> None:
    redis = RedisDouble()
    version = store.version("flights")
    ratio = version.raw_bytes / version.stored_bytes
    first = warmed(store, redis, WarmOptions()).form
    assert first == ("raw" if ratio <= 4 else "stored")
    redis.admitted_bytes = version.stored_bytes
    assert warmed(store, redis, WarmOptions()).form == first
    small = RedisDouble(admitted_bytes=version.stored_bytes)
    assert warmed(store, small, WarmOptions()).form == "stored"


def test_warming_without_a_cache_is_reported(store: Store, chunks: list[ChunkRef]) -> None:
    assert "no cache is configured (the URL is empty)" in warmed(store, None).reason


def test_an_unreachable_redis_is_reported(store: Store, chunks: list[ChunkRef]) -> None:
    assert warmed(store, RedisDouble(responds=False)).reason == "the cache at redis:6379 does not respond"
