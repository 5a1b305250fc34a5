"""Check that ports are free before services start; the error names the process that holds a port."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass

import psutil

from millrace.errors import StackError


@dataclass(frozen=True)
class Port:
    """One loopback address that a service listens on, and the setting that changes its port."""

    host: str
    number: int
    setting: str

    def __str__(self) -> str:
        return f"{self.host}:{self.number}"

    def is_open(self, timeout_s: float = 1.0) -> bool:
        """Return whether a process accepts connections at this address."""
        try:
            socket.create_connection((self.host, self.number), timeout_s).close()
        except OSError:
            return False
        return True


def require_free(port: Port) -> None:
    """Check that no process listens on ``port``.

    Raises ``StackError`` with the port, the process that holds it and the setting that changes it.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # The services set this option, too: connections of a former run in TIME_WAIT do not block a port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((port.host, port.number))
            return
        except OSError as error:
            if error.errno == errno.EACCES:
                raise StackError(f"port {port} needs root", hint=f"set {port.setting} above 1023") from error
            if error.errno != errno.EADDRINUSE:
                raise StackError(f"port {port} cannot be listened on: {error}") from error
    raise StackError(
        f"port {port} is taken by {holder(port)}",
        hint=f"stop that process, or set {port.setting} (or MILLRACE_STACK__PORT_OFFSET, which moves every port)",
    )


def holder(port: Port) -> str:
    """Return the name and pid of the process that listens on ``port``, as far as this user may see it."""
    addresses = {(host, port.number) for host in (port.host, "0.0.0.0", "::", f"::ffff:{port.host}")}
    for connection in psutil.net_connections("tcp"):
        listens = connection.status == psutil.CONN_LISTEN and tuple(connection.laddr) in addresses
        if listens and connection.pid:
            try:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except psutil.Error:
                break
    return "a process this user cannot see"
