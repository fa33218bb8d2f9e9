"""Two gateways on one folder: one with the lane, one that goes the whole way always."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.conftest import DEADLINE, House, MakeHouse

# What differs from one answer to the next.
_EACH_TIME = {"date", "server-timing", "request-id", "dg-request-id"}
#: Deepgram's errors have one, of always as many characters.
_AGE = re.compile(r"max-age=(\d+)")
REQUEST_ID = re.compile(rb'"request_id": "\w+"')
RACHEL = "21m00Tcm4TlvDq8ikWAM"
TEXT = "Hello there, my friend."
SPEECH: dict[str, Any] = {"model": "tts-1", "voice": "nova", "input": TEXT}


@dataclass
class Ways:
    """The two, and what the lane has counted."""

    lane: House
    whole: House

    @property
    def answered(self) -> int:
        """How many requests the lane has answered."""
        return sum(self.lane.gateway.watch.metrics.lane_answered.values())

    @property
    def declined(self) -> Mapping[tuple[str, str], int]:
        """How many it has let go, by door and reason."""
        return dict(self.lane.gateway.watch.metrics.lane_declined)

    async def ask(self, house: House, method: str, path: str, **how: Any) -> httpx.Response:
        return await house.http.request(method, path, **how)

    async def learn(self, method: str, path: str, **how: Any) -> httpx.Response:
        """Asks until the lane answers; its answer."""
        end = time.monotonic() + DEADLINE  # it is learnt when it has landed
        while time.monotonic() < end:
            before = self.answered
            answer = await self.ask(self.lane, method, path, **how)
            if self.answered > before:
                return answer
        raise AssertionError(f"the lane never answered: {answer.status_code}, {self.declined}")

    async def same(self, method: str, path: str, **how: Any) -> httpx.Response:
        """Asks both the same; their answer, which must be one. The lane's may be of either way."""
        mine, other = await self.ask(self.lane, method, path, **how), await self.ask(self.whole, method, path, **how)
        assert abs(_age_of(mine) - _age_of(other)) <= 1, "what is signed ages, and a second may lie between them"
        assert told(mine) == told(other)
        return mine


def _age_of(answer: httpx.Response) -> int:
    """For how long it may be kept, in seconds."""
    found = _AGE.search(answer.headers.get("cache-control", ""))
    return int(found[1]) if found else 0


def told(answer: httpx.Response) -> tuple[int, dict[str, str], bytes]:
    """An answer without what differs each time."""
    headers = {name: _AGE.sub("", value) for name, value in answer.headers.items() if name not in _EACH_TIME}
    return answer.status_code, headers, REQUEST_ID.sub(b"", answer.content)


MakeWays = Callable[..., Awaitable[Ways]]


@pytest.fixture
async def make_ways(make_house: MakeHouse) -> MakeWays:
    async def make(**settings: Any) -> Ways:
        given = {"poll_seconds": 0.05, "flush_seconds": 0.05} | settings
        return Ways(await make_house(**given), await make_house(hot_lane=False, **given))

    return make


@pytest.fixture
async def ways(make_ways: MakeWays) -> Ways:
    return await make_ways(before=("elevenlabs", "deepgram"))


async def exchange(house: House, *pieces: bytes, ends: bool = False) -> bytes:
    """All that is answered to bytes that come in pieces, until the server closes the connection."""
    host, _, port = house.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        if ends:
            writer.write_eof()
        return await asyncio.wait_for(reader.read(), DEADLINE)
    except ConnectionError:
        return b""
    finally:
        writer.close()
