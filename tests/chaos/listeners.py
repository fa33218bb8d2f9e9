"""Who listens: one request for one text, over a plain socket, so that a test sees when each byte came and how the
connection ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from tests.chaos.replicas import Replica

#: How long a request may take, in seconds; none that goes right comes near it.
LONGEST = 50.0


@dataclass(eq=False)
class Listener:
    """A request for a text, and what has come of it so far. It goes to the first of `replicas`, and to the next where
    the connection breaks before a byte of the answer, as behind a balancer; `refused` counts those. `status` 0 is no
    answer at all. Times are the loop's own; `at` is who answered."""

    text: str
    replicas: Sequence[Replica]
    headers: Mapping[str, str] = field(default_factory=dict)
    at: Replica | None = None
    status: int = 0
    outcome: str = ""
    name: str = ""  # the content hash
    audio: bytearray = field(default_factory=bytearray)
    whole: bool = False
    refused: int = 0
    began: float = 0.0
    first: float | None = None
    ended: float | None = None

    async def listen(self) -> Listener:
        """Asks, and hears it to its end."""
        loop = asyncio.get_running_loop()
        self.began = loop.time()
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST):
                for replica in self.replicas:
                    self.at = replica
                    if await self._asked(replica):
                        break
                    self.refused += 1
        self.ended = loop.time()
        return self

    @property
    def heard(self) -> bool:
        """Whether a first byte of audio has come."""
        return self.first is not None

    @property
    def aborted(self) -> bool:
        """Whether the connection broke in the middle of an answer."""
        return self.status == 200 and self.ended is not None and not self.whole

    async def _asked(self, replica: Replica) -> bool:
        """Whether a byte of an answer came."""
        writer = None
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", replica.port)
            writer.write(self._request())
            await self._answer(reader)
        except (OSError, asyncio.IncompleteReadError):
            pass  # `status` and `whole` tell how far it came
        finally:
            if writer is not None:
                writer.close()
        return self.status != 0

    def _request(self) -> bytes:
        body = json.dumps({"model": "tts-1", "voice": "nova", "input": self.text}).encode()
        headers = {"Host": "127.0.0.1", "Connection": "close", "Content-Length": str(len(body)), **self.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST /v1/audio/speech HTTP/1.1\r\n{head}\r\n".encode() + body

    async def _answer(self, reader: asyncio.StreamReader) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:-2])
        self.status = int(lines[0].split()[1])
        self.outcome, self.name = headers.get("x-tts-cache", ""), headers.get("x-content-hash", "")
        if "content-length" in headers:
            self._hear(await reader.readexactly(int(headers["content-length"])))
        else:
            while size := int(await reader.readuntil(b"\r\n"), 16):
                self._hear((await reader.readexactly(size + 2))[:-2])
        self.whole = True

    def _hear(self, piece: bytes) -> None:
        if self.first is None:
            self.first = asyncio.get_running_loop().time()
        self.audio += piece
