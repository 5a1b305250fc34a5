"""A small TCP proxy for each node that adds latency, resets and lost responses. Node n is reached at 127.0.1.n."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from cassandra.policies import AddressTranslator

_BLOCK_BYTES = 65_536


def through(address: str) -> str:
    """Return the address of the proxy for a node's address."""
    return address.replace("127.0.0.", "127.0.1.")


class Translator(AddressTranslator):  # type: ignore[misc]
    """A translator from the addresses that nodes report to those of their proxies."""

    def translate(self, addr: Any) -> str:
        return through(str(addr))


@dataclass
class Toxics:
    """The faults that a proxy injects into a node's connections, and counts of the injected ones."""

    latency_s: float = 0.0
    """Delay before each block, in each direction."""
    reset_after_bytes: int = 0
    """Bytes sent to the node after which a connection is reset (0: never)."""
    lose_answers: bool = False
    """Whether responses of the node are dropped; requests still reach it."""
    delayed: int = 0
    resets: int = 0
    lost_bytes: int = 0
    sockets: set[Any] = field(default_factory=set, repr=False)


class Proxies:
    """One proxy for each address, in an event loop on a separate thread; use as a context manager."""

    def __init__(self, addresses: tuple[str, ...], port: int) -> None:
        self.toxics = {address: Toxics() for address in addresses}
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._servers: list[asyncio.Server] = []

    def __enter__(self) -> Proxies:
        self._thread.start()
        for address in self.toxics:
            self._servers.append(self._do(self._serve(address)))
        return self

    def __exit__(self, *_exc: object) -> None:
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def cut(self, address: str) -> None:
        """Reset every connection to the node."""
        self._do(self._cut(self.toxics[address]))

    def _do(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    async def _serve(self, address: str) -> asyncio.Server:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._connected(address, reader, writer)

        return await asyncio.start_server(connected, through(address), self._port)

    async def _stop(self) -> None:
        for server in self._servers:
            server.close()
        for toxics in self.toxics.values():
            await self._cut(toxics)
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _cut(self, toxics: Toxics) -> None:
        for writer in list(toxics.sockets):
            _reset(writer)

    async def _connected(self, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        toxics = self.toxics[address]
        try:
            node_reader, node_writer = await asyncio.open_connection(address, self._port)
        except OSError:
            _reset(writer)
            return
        pair = (writer, node_writer)
        toxics.sockets.update(pair)
        try:
            # The end or reset of one direction ends both.
            ways = [
                asyncio.ensure_future(self._carry(toxics, reader, node_writer, to_node=True)),
                asyncio.ensure_future(self._carry(toxics, node_reader, writer, to_node=False)),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        finally:
            toxics.sockets.difference_update(pair)
            for each in pair:
                _reset(each)

    async def _carry(
        self, toxics: Toxics, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to_node: bool
    ) -> None:
        carried = 0
        while data := await reader.read(_BLOCK_BYTES):
            if toxics.latency_s:
                toxics.delayed += 1
                await asyncio.sleep(toxics.latency_s)
            if toxics.lose_answers and not to_node:
                toxics.lost_bytes += len(data)
                continue
            carried += len(data)
            if to_node and toxics.reset_after_bytes and carried > toxics.reset_after_bytes:
                toxics.resets += 1
                return
            writer.write(data)
            await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST, even in the middle of a block."""
    sock = writer.get_extra_info("socket")
    if sock is not None and not writer.transport.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
