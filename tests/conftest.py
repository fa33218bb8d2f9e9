"""What the tests share: gateways on real sockets and folders of their own, before vendors that misbehave."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from sayonce import settings as configuration
from sayonce.api.lane import protocol
from sayonce.api.server import application, hot_lane
from sayonce.app import Gateway, running
from sayonce.settings import VENDORS
from sayonce.testing.postgres import PostgresServer
from sayonce.testing.postgres import postgres_server as running_postgres
from sayonce.testing.redis import RedisServer, redis_server
from sayonce.testing.servers import serving
from sayonce.testing.vendors import FakeVendors
from sayonce.testing.waiting import DEADLINE
from sayonce.testing.waiting import until as until


@dataclass
class Heard:
    """An answer of the OpenAI door."""

    status: int
    outcome: str | None
    audio: bytes
    headers: httpx.Headers
    error: dict[str, Any] = field(default_factory=dict)


class House:
    """A gateway with its doors open, before a fake vendor."""

    def __init__(self, gateway: Gateway, url: str, vendors: FakeVendors, http: httpx.AsyncClient) -> None:
        self.gateway = gateway
        self.url = url
        self.vendors = vendors
        self.http = http

    async def speak(
        self, text: str = "Hello there, my friend.", *, headers: dict[str, str] | None = None, **body: Any
    ) -> Heard:
        """Asks the OpenAI door."""
        asked = {"model": "tts-1", "voice": "nova", "input": text} | body
        answer = await self.http.post("/v1/audio/speech", json=asked, headers=headers)
        told = answer.json()["error"] if answer.status_code >= 400 else {}
        return Heard(answer.status_code, answer.headers.get("x-tts-cache"), answer.content, answer.headers, told)

    @property
    def calls(self) -> int:
        """How often the vendor was asked to speak."""
        return self.vendors.counts.calls

    def blobs(self) -> list[Path]:
        """Every file of audio in the local storage."""
        root = self.gateway.settings.data_dir / "audio"
        return [
            path
            for path in sorted(root.rglob("*"))
            if path.is_file() and not path.name.endswith(".meta.json") and not path.name.startswith(".")
        ]

    async def rows(self) -> int:
        """How many assets the catalog knows."""
        return (await self.gateway.catalog.statistics()).assets


# Variables of vendors and of storages.
_THEIRS = tuple(f"{name.upper()}_" for name in (*VENDORS, "aws", "google", "supabase", "databricks"))

MakeHouse = Callable[..., Awaitable[House]]


@pytest.fixture
async def make_house(tmp_path: Path) -> AsyncIterator[MakeHouse]:
    """Makes houses; those of one test share its folder and its vendors, unless told otherwise. `before` names the
    vendors beside OpenAI that it is to know."""
    async with AsyncExitStack() as stack:
        vendors = FakeVendors()
        vendor_url = await stack.enter_async_context(serving(vendors))

        async def make(
            *, clock: Callable[[], float] = time.time, before: Sequence[str] = (), **settings: Any
        ) -> House:
            given: dict[str, Any] = {
                "data_dir": tmp_path / "data",
                "openai_base_url": f"{vendor_url}/v1",
                "openai_api_key": "sk-x",
            }
            for name in before:
                if name in VENDORS:
                    given |= {VENDORS[name][0]: "sk-x", VENDORS[name][1]: vendor_url}
                else:
                    given.setdefault("upstreams", {})[name] = {"api_key": "sk-x", "base_url": vendor_url}
            loaded = configuration.load(**(given | settings))
            gateway = await stack.enter_async_context(running(loaded, clock))
            lane = await hot_lane(gateway)
            served = serving(application(gateway), None if lane is None else protocol(lane))
            url = await stack.enter_async_context(served)
            http = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=DEADLINE, verify=False))
            return House(gateway, url, vendors, http)

        yield make


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server a worker; whoever stops it starts one of his own."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> Iterator[str]:
    """The address of an empty database in PostgreSQL."""
    name = postgres_server.create()
    yield postgres_server.url(name)
    postgres_server.drop(name)


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A Redis of the test's own."""
    with redis_server() as server:
        yield server


@pytest.fixture
async def house(make_house: MakeHouse) -> House:
    """A gateway before a fake vendor, with quick change polling."""
    return await make_house(poll_seconds=0.05, flush_seconds=0.05)


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the machine reaches a test."""
    for name in [*os.environ]:
        if name.startswith(("SAYONCE_", *_THEIRS)) or name in ("DATABASE_URL", "REDIS_URL"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Where a skip is a failure, one is."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("NO_SKIPS") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
