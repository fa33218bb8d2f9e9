"""Stands before a server at an address of its own, and lets a test take the server away without harm to what is in
it."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from sayonce.testing.servers import free_socket

_PIECE = 65_536


class Relay:
    """Passes on what comes for the server at `port`: while it is `gone`, connections break, and while it is `frozen`,
    they are taken and nothing is passed on."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._gone = False
        self._moving = asyncio.Event()
        self._moving.set()
        self._ends: set[asyncio.StreamWriter] = set()
        self._listener = free_socket()
        #: How many connections were refused, and how many were taken and then left alone.
        self.refused = self.left = 0

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    async def open(self) -> None:
        """Begins to listen."""
        self._server = await asyncio.start_server(self._pass, sock=self._listener)

    def close(self) -> None:
        """Ends, with every connection."""
        self.gone()
        self._server.close()

    def gone(self) -> None:
        """The server is not there any more: every connection breaks."""
        self._gone = True
        self._moving.set()
        for end in tuple(self._ends):
            end.transport.abort()

    def frozen(self) -> None:
        """The server does not answer and does not refuse."""
        self._moving.clear()

    def back(self) -> None:
        """The server is there again."""
        self._gone = False
        self._moving.set()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.add(writer)
        try:
            if self._gone:
                self.refused += 1
                return
            self.left += not self._moving.is_set()
            there, back = await asyncio.open_connection("127.0.0.1", self._port)
            self._ends.add(back)
            try:
                await asyncio.gather(self._carry(reader, back), self._carry(there, writer))
            finally:
                self._drop(back)
        except OSError:
            pass  # either end has left
        finally:
            self._drop(writer)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_PIECE):
            await self._moving.wait()
            writer.write(data)
            await writer.drain()
        with suppress(OSError, RuntimeError):  # the other way may have closed it
            writer.write_eof()

    def _drop(self, end: asyncio.StreamWriter) -> None:
        self._ends.discard(end)
        end.transport.abort()
