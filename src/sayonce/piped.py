"""Processes of our own, each behind a pipe: what may crash, hang, or hold the interpreter's lock does that by itself.

A process does one thing at a time. It reads requests, each after its length in four big-endian bytes, and writes
frames: length, kind in one byte, payload; the first of them is that it is ready. One that crashes, hangs or is killed
costs what it was doing, and is replaced; so is one whose work was given up, since that is the quickest way to make it
stop. It ends when its pipe does.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager


class PipeError(Exception):
    """Nothing comes through a pipe. Never raised itself; what uses processes tells its callers in its own words."""


class NotStarted(PipeError):
    """No process could be started, or it was not ready; the message says why."""


class Died(PipeError):
    """The process has ended in the middle of something."""


class Silent(PipeError):
    """The process said nothing for too long."""


class Closed(PipeError):
    """There are to be no processes any more."""


class PipedProcess:
    """One process. Whoever has had all that was asked for says that it is `done`."""

    def __init__(self, process: asyncio.subprocess.Process, patience: float) -> None:
        self._process = process
        self._patience = patience
        self.done = False
        self.retiring: asyncio.TimerHandle | None = None

    @classmethod
    async def start(cls, arguments: Sequence[str], patience: float) -> PipedProcess:
        """A Python of these arguments. NotStarted where there can be none."""
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, *arguments),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={},  # none of the gateway's secrets
                start_new_session=True,  # a terminal's Ctrl-C is the gateway's to handle
            )
        except OSError as error:
            raise NotStarted(error.strerror or "no reason was given") from error
        return cls(process, patience)

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.returncode is None

    async def ask(self, request: bytes) -> None:
        """Sends a request."""
        assert self._process.stdin is not None
        self._process.stdin.write(len(request).to_bytes(4, "big") + request)
        try:
            async with asyncio.timeout(self._patience):
                await self._process.stdin.drain()
        except TimeoutError as error:
            raise Silent from error
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Died from error

    async def frame(self) -> tuple[bytes, bytes]:
        """The next frame's kind and payload."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(self._patience):
                head = await self._process.stdout.readexactly(5)
                return head[4:], await self._process.stdout.readexactly(int.from_bytes(head[:4], "big"))
        except asyncio.IncompleteReadError as error:
            raise Died from error
        except TimeoutError as error:
            raise Silent from error

    def kill(self) -> None:
        """Ends it, whatever it is doing."""
        # Closing the transport kills, and lets go of pipes that nobody reads any more.
        self._process._transport.close()  # type: ignore[attr-defined]

    async def gone(self) -> None:
        """Returns when nothing of it is left."""
        await self._process.wait()


class PipedProcesses:
    """At most `most` of one kind, started when they are needed; further callers wait. `patience` is in seconds
    without a frame; one that has had nothing to do for `idle` seconds ends."""

    def __init__(
        self, arguments: Sequence[str], *, most: int, patience: float = 15.0, idle: float | None = None
    ) -> None:
        self._arguments = arguments
        self._patience = patience
        self._rest = idle
        self._places = asyncio.Semaphore(most)
        self._idle: list[PipedProcess] = []
        self._all: set[PipedProcess] = set()
        self._burials: set[asyncio.Task[None]] = set()
        self._closed = asyncio.Event()

    def __bool__(self) -> bool:
        return bool(self._all)

    @asynccontextmanager
    async def one(self, *, fresh: bool = False) -> AsyncIterator[PipedProcess]:
        """A process for one thing; unless that is `done` in the end, it ends. A `fresh` one has done nothing yet."""
        async with self._places:
            while fresh and self._idle:
                self._bury(self._woken())
            process = await self._taken()
            process.done = False
            try:
                yield process
            finally:
                if process.done and not self._closed.is_set():
                    self._lay_by(process)
                else:
                    self._bury(process)

    async def aclose(self) -> None:
        """Ends all of them."""
        self._closed.set()
        for process in tuple(self._all):
            self._bury(process)
        await asyncio.gather(*self._burials)

    async def _taken(self) -> PipedProcess:
        while self._idle:
            process = self._woken()
            if process.alive and not self._closed.is_set():
                return process
            self._bury(process)
        if not self._closed.is_set():
            process = await self._started()
            if not self._closed.is_set():
                return process
            self._bury(process)
        raise Closed

    def _woken(self) -> PipedProcess:
        process = self._idle.pop()
        if process.retiring is not None:
            process.retiring.cancel()
        return process

    async def _started(self) -> PipedProcess:
        process = await PipedProcess.start(self._arguments, self._patience)
        self._all.add(process)
        try:
            await process.frame()  # that it is ready
        except Died as error:
            self._bury(process)
            raise Closed if self._closed.is_set() else NotStarted("it ended at once") from error
        except BaseException:
            self._bury(process)
            raise
        return process

    def _lay_by(self, process: PipedProcess) -> None:
        self._idle.append(process)
        if self._rest is not None:
            process.retiring = asyncio.get_running_loop().call_later(self._rest, self._retire, process)

    def _retire(self, process: PipedProcess) -> None:
        self._idle.remove(process)
        self._bury(process)

    def _bury(self, process: PipedProcess) -> None:
        """Ends a process, and sees to it that nothing of it is left."""
        process.kill()
        self._all.discard(process)
        burial = asyncio.create_task(process.gone())
        self._burials.add(burial)
        burial.add_done_callback(self._burials.discard)
