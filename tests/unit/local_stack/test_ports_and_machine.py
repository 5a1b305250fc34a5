from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from local_stack.machine import memory_total_mb, require_disk, require_memory, sizes
from local_stack.ports import Port, holder, require_free
from local_stack.settings import StackSettings
from millrace.errors import StackError


@pytest.fixture
def taken() -> Iterator[Port]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield Port("127.0.0.1", server.getsockname()[1], "MILLRACE_STACK__REDIS_PORT")


def test_a_taken_port_is_a_one_line_error_with_the_port_its_holder_and_the_setting(taken: Port) -> None:
    with pytest.raises(StackError) as refused:
        require_free(taken)
    message = str(refused.value)
    assert f"port 127.0.0.1:{taken.number} is taken by" in message
    assert f"(pid {os.getpid()})" in message
    assert "MILLRACE_STACK__REDIS_PORT" in message
    assert "\n" not in message


def test_a_port_taken_on_every_address_is_taken_on_loopback() -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = Port("127.0.0.1", server.getsockname()[1], "MILLRACE_STACK__REDIS_PORT")
        with pytest.raises(StackError, match="is taken by"):
            require_free(port)


def test_a_listener_on_the_same_port_of_another_address_is_not_reported(taken: Port) -> None:
    assert "cannot see" in holder(Port("127.0.0.2", taken.number, ""))
    require_free(Port("127.0.0.2", taken.number, ""))


def test_a_port_whose_listener_is_gone_is_free_although_connections_linger() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = Port("127.0.0.1", server.getsockname()[1], "MILLRACE_STACK__REDIS_PORT")
        client = socket.create_connection(("127.0.0.1", port.number))
        accepted, _ = server.accept()
        accepted.close()  # the side that closes first is the one whose port lingers in TIME_WAIT
        client.close()
    require_free(port)
    assert not port.is_open()


def test_an_open_port_is_seen(taken: Port) -> None:
    assert taken.is_open()


@pytest.mark.parametrize(
    ("total_mb", "heap_mb", "redis_mb"), [(4 * 1024, 512, 256), (24 * 1024, 1024, 1536), (256 * 1024, 2048, 4096)]
)
def test_heaps_and_the_cache_follow_the_machine(
    settings: StackSettings, total_mb: int, heap_mb: int, redis_mb: int
) -> None:
    chosen = sizes(settings, total_mb)
    assert (chosen.cassandra_heap_mb, chosen.redis_maxmemory_mb) == (heap_mb, redis_mb)


def test_a_size_that_was_set_wins_over_the_machine(settings: StackSettings) -> None:
    chosen = sizes(settings.model_copy(update={"cassandra_heap_mb": 768, "redis_maxmemory_mb": 64}), 24 * 1024)
    assert (chosen.cassandra_heap_mb, chosen.redis_maxmemory_mb) == (768, 64)


def test_a_container_limit_counts_and_no_limit_does_not(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text(f"{512 * 1024 * 1024}\n")
    assert memory_total_mb(limit) == 512
    limit.write_text("max\n")
    assert memory_total_mb(limit) == memory_total_mb(tmp_path / "none") > 512


def test_too_little_memory_is_an_error_with_the_need_of_each_service_and_the_setting() -> None:
    with pytest.raises(StackError, match=r"cassandra-1 100000000.*CASSANDRA_HEAP_MB"):
        require_memory({"cassandra-1": 100_000_000, "redis": 1})
    require_memory({"redis": 1})


def test_too_little_disk_is_an_error_with_the_folder_and_the_setting(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=rf"{tmp_path}: .*MILLRACE_HOME"):
        require_disk(tmp_path, needed_mb=10**12)
    require_disk(tmp_path, needed_mb=1)
