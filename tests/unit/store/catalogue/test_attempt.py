"""Load attempts as their rows describe them."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from millrace.api import Store
from millrace.store.catalogue.attempt import AttemptRole
from millrace.store.catalogue.catalogue_writer import CatalogueWriter
from millrace.store.cluster.driver import LOCAL_ONE
from millrace.store.cluster.writer import ReplicatedWriter
from tests.unit.store.conftest import attempt_row
from tests.unit.store.fakes import FakeCassandra

ATTEMPT = UUID(int=7)


def fence(cassandra: FakeCassandra, attempt_id: UUID) -> None:
    query = "UPDATE {ks}.attempts USING TIMESTAMP ? SET fenced = ? WHERE dataset = ? AND attempt_id = ?"
    statement = cassandra.prepare(query).bind((1, True, "flights", attempt_id))
    statement.consistency_level = LOCAL_ONE
    cassandra.execute(statement)


def test_a_row_that_holds_only_the_fence_is_a_fenced_attempt_without_a_role(
    store: Store, cassandra: FakeCassandra
) -> None:
    fence(cassandra, ATTEMPT)
    [attempt] = store.catalogue.attempts("flights")
    assert (attempt.attempt_id, attempt.fenced, attempt.role) == (ATTEMPT, True, None)
    assert attempt.started == datetime(1970, 1, 1, tzinfo=UTC)


def test_a_heartbeat_leaves_the_fence_and_restores_the_role(store: Store, cassandra: FakeCassandra) -> None:
    row = attempt_row(attempt_id=ATTEMPT, role=AttemptRole.PUBLISHER)
    fence(cassandra, ATTEMPT)
    with ReplicatedWriter(cassandra, window_bytes=1_000_000) as writes:
        CatalogueWriter(cassandra, writes).heartbeat(row, buckets=1, finished=False)
    [attempt] = store.catalogue.attempts("flights")
    assert (attempt.fenced, attempt.role, attempt.buckets) == (True, AttemptRole.PUBLISHER, 1)
    written = [values for sent in cassandra.writes() for table, values in sent.rows if table == "attempts"]
    assert written
    assert all("fenced" not in values for values in written)


def test_the_role_and_split_of_an_attempt_are_read_as_they_were_written(store: Store, cassandra: FakeCassandra) -> None:
    rows = [attempt_row(role=AttemptRole.SPLIT, split=3), attempt_row(role=AttemptRole.SOURCE)]
    with ReplicatedWriter(cassandra, window_bytes=1_000_000) as writes:
        for row in rows:
            CatalogueWriter(cassandra, writes).begin_attempt(row)
    read = {attempt.attempt_id: (attempt.role, attempt.split) for attempt in store.catalogue.attempts("flights")}
    assert read == {rows[0].attempt_id: (AttemptRole.SPLIT, 3), rows[1].attempt_id: (AttemptRole.SOURCE, 0)}
