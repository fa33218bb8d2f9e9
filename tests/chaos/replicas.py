"""One of several gateways: a process of its own, which a test stops, kills and starts."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import httpx

from tests.chaos.nursery import Nursery, lives
from tests.conftest import until

_ADDRESS = "http://127.0.0.1:"
# How long a start and an end may take, in seconds, on a busy machine.
_LONGEST = 60.0


class Replica:
    """A gateway on a free port, with that environment; what it logs goes to a file."""

    def __init__(self, name: str, nursery: Nursery, environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.port = 0
        self._nursery = nursery
        self._environment = environment
        self._log = log
        self._process = 0

    def __repr__(self) -> str:
        return self.name

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"{_ADDRESS}{self.port}"

    @property
    def log(self) -> str:
        """What it has said so far."""
        return self._log.read_text() if self._log.exists() else ""

    @property
    def lives(self) -> bool:
        """Whether its process runs."""
        return self._process != 0 and lives(self._process)

    async def count(self, metric: str) -> float:
        """What its metrics say of that, all labels together."""
        async with httpx.AsyncClient() as http:
            page = (await http.get(f"{self.url}/metrics")).text
        lines = [line for line in page.splitlines() if line.startswith((f"{metric} ", f"{metric}{{"))]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    async def start(self) -> None:
        """Starts it, and returns when it listens."""
        said = len(self.log)
        self._process = self._nursery.start(self._environment, self._log)
        told = await until(lambda: self._address(said), _LONGEST)
        self.port = int(told.partition(_ADDRESS)[2].split()[0].split("\x1b")[0])

    async def end(self) -> None:
        """Tells it to stop, and returns when it has."""
        self._signal(signal.SIGTERM)
        await until(lambda: not self.lives, _LONGEST)

    async def kill(self) -> None:
        """Ends it as a machine that dies does."""
        if self._process:
            with suppress(ProcessLookupError):
                self._signal(signal.SIGKILL)
            await until(lambda: not self.lives, _LONGEST)

    def pause(self) -> None:
        """Keeps it from doing anything."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, which: signal.Signals) -> None:
        os.kill(self._process, which)

    def _address(self, said: int) -> str | None:
        told = self.log[said:]
        if not self.lives:
            sys.stderr.write(told)
            raise RuntimeError(f"{self.name} ended at its start")
        line = next((line for line in told.splitlines(keepends=True) if _ADDRESS in line), "")
        return line if line.endswith("\n") else None
