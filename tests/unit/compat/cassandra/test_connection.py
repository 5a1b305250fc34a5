"""Connections: timers release requests, requests wait for a full connection, no class of the driver is changed."""

from __future__ import annotations

import gc
import socket
import subprocess
import sys
import threading
import weakref
from collections import deque
from typing import Any

import pytest
from cassandra.io import libevreactor
from cassandra.protocol import OptionsMessage

from millrace.compat.cassandra.connection import StockConnection, WideConnection, connection_class
from millrace.compat.versions import CASSANDRA_DRIVER, stock_behaviour

CLASSES = (WideConnection, StockConnection)


class Request:
    def timed_out(self) -> None:
        pass


def timer_of(class_: Any, request: Request) -> tuple[Any, weakref.ref[Request]]:
    return class_.create_timer(3600, request.timed_out), weakref.ref(request)


@pytest.fixture
def reactor() -> None:
    WideConnection.initialize_reactor()
    libevreactor._global_loop.maybe_start()


@pytest.mark.usefixtures("reactor")
@pytest.mark.parametrize("class_", CLASSES)
def test_a_cancelled_timer_releases_its_request(class_: Any) -> None:
    """The driver keeps it in its heap until every earlier timer is gone; here an earlier one never ends."""
    blocking = class_.create_timer(3599, lambda: None)
    timer, request = timer_of(class_, Request())
    gc.collect()
    assert request() is not None
    timer.cancel()
    gc.collect()
    assert request() is None
    blocking.cancel()


@pytest.mark.usefixtures("reactor")
@pytest.mark.parametrize("class_", CLASSES)
def test_a_timer_that_is_not_cancelled_fires(class_: Any) -> None:
    fired = threading.Event()
    class_.create_timer(0.01, fired.set)
    for _ in range(40):
        # Without a connection the driver's loop may end at any moment, even while the fixture starts it.
        libevreactor._global_loop.maybe_start()
        if fired.wait(0.5):
            break
    assert fired.is_set()


@pytest.mark.usefixtures("reactor")
@pytest.mark.parametrize("class_", CLASSES)
def test_a_request_waits_for_a_full_connection_instead_of_losing_its_stream_number(class_: Any) -> None:
    """Each ``ConnectionBusy`` leaks one of 32,768 stream numbers; integration tests count them on a real connection."""
    own, other = socket.socketpair()
    own.setblocking(False)
    connection = class_.__new__(class_)
    connection._socket, connection.protocol_version = own, 4
    connection._deque_lock, connection._requests = threading.Lock(), {}
    connection.deque = deque([b"x" * 64 * 1024] * 1000)
    with own, other:
        connection.handle_write(None, 0)  # until the kernel's buffer is full, which the driver notes
        left = len(connection.deque)
        assert left > 0
        size = connection.send_msg(OptionsMessage(), 7, lambda _response: None)
        assert list(connection._requests) == [7]
        assert len(connection.deque) == left + 1
        assert len(connection.deque[-1]) == size


def test_outside_the_tested_versions_the_driver_receives_every_frame() -> None:
    assert issubclass(connection_class(lambda: None), WideConnection)
    with stock_behaviour(CASSANDRA_DRIVER):
        stock = connection_class(lambda: None)
    assert issubclass(stock, StockConnection)
    assert stock.handle_read is libevreactor.LibevConnection.handle_read
    assert stock.in_buffer_size == 64 * 1024


def test_importing_and_configuring_the_driver_changes_none_of_its_classes() -> None:
    program = """
from cassandra import ConsistencyLevel
from cassandra.cluster import Cluster, Session
from cassandra.connection import Connection
from cassandra.io.libevreactor import LibevConnection
from cassandra.protocol import ErrorMessage, ProtocolHandler

def state():
    classes = (ConsistencyLevel, Cluster, Session, Connection, LibevConnection, ErrorMessage, ProtocolHandler)
    # The event loop belongs to the class: the driver sets it when a cluster is made.
    return [{k: repr(v) for k, v in vars(each).items() if k != "_libevloop"} for each in classes]

before = state()
from millrace.settings import CassandraSettings
from millrace.store.cluster.driver import new_cluster
from millrace.store.cluster.node_monitor import NodeMonitor
new_cluster(CassandraSettings(), NodeMonitor())
assert state() == before
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
