"""Two replicas of one gateway, which meet in PostgreSQL and in Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from sayonce.testing.redis import RedisServer
from sayonce.testing.vendors.behaviour import Gate
from tests.conftest import House, MakeHouse

TEXT = "A sentence that is spoken slowly, so that somebody may come late and hear it all the same."

Replicas = Callable[..., Awaitable[tuple[House, House]]]


@pytest.fixture
def make_replicas(make_house: MakeHouse, postgres: str, redis: RedisServer) -> Replicas:
    """Makes two replicas, with these settings beside the usual."""

    async def make(**settings: Any) -> tuple[House, House]:
        usual = {"database_url": postgres, "redis_url": redis.url(), "lease_seconds": 2.0, "poll_seconds": 0.2}
        first, second = await make_house(**(usual | settings)), await make_house(**(usual | settings))
        return first, second

    return make


@pytest.fixture
async def replicas(make_replicas: Replicas) -> tuple[House, House]:
    """Two replicas."""
    return await make_replicas()


def hold(house: House, **how: Any) -> Gate:
    """Has the vendor say some of it, and then wait until the gate is opened."""
    gate = Gate(after=32_768)
    house.vendors.behave(gate=gate, seconds=8, **how)
    return gate


@dataclass
class Listening:
    """A listener of the OpenAI door, and what it has heard so far."""

    answer: asyncio.Task[bytes]
    began: asyncio.Event = field(default_factory=asyncio.Event)
    heard: bytearray = field(default_factory=bytearray)
    first_byte: float = 0.0
    outcome: str | None = None


def listen(house: House, text: str = TEXT, headers: dict[str, str] | None = None, **body: Any) -> Listening:
    """Begins to listen; `answer` gives all of it, or raises what broke it."""

    async def hear() -> bytes:
        asked = {"model": "tts-1", "voice": "nova", "input": text} | body
        async with house.http.stream("POST", "/v1/audio/speech", json=asked, headers=headers) as answer:
            if answer.status_code != 200:
                raise httpx.HTTPStatusError((await answer.aread()).decode(), request=answer.request, response=answer)
            listening.outcome = answer.headers["x-tts-cache"]
            async for piece in answer.aiter_raw():
                listening.first_byte = listening.first_byte or time.monotonic()
                listening.heard += piece
                listening.began.set()
        return bytes(listening.heard)

    listening = Listening(asyncio.create_task(hear()))
    return listening
