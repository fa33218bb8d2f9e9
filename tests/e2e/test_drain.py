"""A gateway that is told to stop: it drains, its listeners finish, its flights land, its leases go back."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from sayonce.testing.servers import serving
from sayonce.testing.vendors import FakeVendors
from sayonce.testing.waiting import DEADLINE
from tests.conftest import until
from tests.e2e.processes import Server, refuse_unsound, serving_process

LONG = {"SAYONCE_DRAIN_SECONDS": "600"}
LECTURE = " ".join(f"This is sentence {n} of a lecture that takes its time." for n in range(16))


async def ask(server: Server, text: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=DEADLINE) as http:
        body = {"model": "tts-1", "voice": "nova", "input": text}
        return await http.post(f"{server.url}/v1/audio/speech", json=body)


async def ready(server: Server) -> tuple[int, str]:
    """What the probe of a balancer sees."""
    async with httpx.AsyncClient(timeout=DEADLINE) as http:
        answer = await http.get(f"{server.url}/api/health/ready")
    return answer.status_code, answer.json()["parts"]["gateway"]


async def drains(server: Server) -> bool:
    return await ready(server) == (503, "stopping")


async def closed(server: Server) -> bool:
    """Whether nobody listens any more. Whoever comes just as the door closes is let in and sent away."""
    try:
        await ready(server)
    except httpx.ConnectError:
        return True
    except (httpx.ReadError, httpx.RemoteProtocolError):
        pass
    return False


@asynccontextmanager
async def listening(server: Server, vendors: FakeVendors, text: str) -> AsyncIterator[asyncio.Task[bytes]]:
    """A listener that has heard the beginning of something long."""
    vendors.behave(pace=0.1)
    begun = asyncio.Event()

    async def hear() -> bytes:
        heard = b""
        async with httpx.AsyncClient(timeout=DEADLINE) as http:
            body = {"model": "tts-1", "voice": "nova", "input": text}
            async with http.stream("POST", f"{server.url}/v1/audio/speech", json=body) as answer:
                async for piece in answer.aiter_raw():
                    heard += piece
                    begun.set()
        return heard

    hearing = asyncio.create_task(hear())
    await begun.wait()
    vendors.behave()
    yield hearing
    await hearing


def leases(folder: Path) -> int:
    with sqlite3.connect(folder / "catalog.db") as database:
        [found] = database.execute("SELECT count(*) FROM leases WHERE holder IS NOT NULL").fetchone()
    database.close()
    return int(found)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_it_serves_on_until_told_again_and_listeners_finish(tmp_path: Path, workers: str) -> None:
    vendors, folder = FakeVendors(), tmp_path / "data"
    given = LONG | {"SAYONCE_WORKERS": workers}
    async with serving(vendors) as upstream, serving_process(folder, upstream, **given) as server:
        assert (await ask(server, "Kept.")).status_code == 200
        assert await ready(server) == (200, "ok")
        async with listening(server, vendors, LECTURE) as hearing:
            server.signal(signal.SIGTERM)
            for _ in range(8):  # any of the workers
                await until(lambda: drains(server))
            assert (await ask(server, "Kept.")).headers["x-tts-cache"] == "hit"
            assert (await ask(server, "Never heard of.")).headers["x-tts-cache"] == "miss"
            server.signal(signal.SIGTERM)
            await until(lambda: closed(server))
            assert not hearing.done(), "there is nothing left to finish"
            assert leases(folder) == 1
        assert await server.process.wait() == 0
    assert leases(folder) == 0
    assert (refuse_unsound(folder), vendors.counts.calls) == (3, 3)
    assert (await hearing) in {path.read_bytes() for path in (folder / "audio").rglob("*.mp3")}


async def test_it_stops_by_itself_when_it_has_drained(tmp_path: Path) -> None:
    async with (
        serving(FakeVendors()) as upstream,
        serving_process(tmp_path, upstream, SAYONCE_DRAIN_SECONDS="1.5") as server,
    ):
        server.signal(signal.SIGTERM)
        began = time.monotonic()
        await until(lambda: drains(server))
        assert await server.process.wait() == 0
        assert time.monotonic() - began > 1.4


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_who_flies_too_long_is_called_off_and_gives_its_lease_back(tmp_path: Path, workers: str) -> None:
    vendors, folder = FakeVendors(), tmp_path / "data"
    given = {"SAYONCE_SHUTDOWN_SECONDS": "1", "SAYONCE_WORKERS": workers, "SAYONCE_LEASE_SECONDS": "600"}
    async with serving(vendors) as upstream, serving_process(folder, upstream, **given) as server:
        vendors.behave(trouble="never")
        waiting = asyncio.create_task(ask(server, "Never said."))
        await until(lambda: vendors.counts.calls == 1 and leases(folder) == 1)
        server.signal(signal.SIGTERM)
        assert await asyncio.wait_for(server.process.wait(), DEADLINE) == 0
        await asyncio.gather(waiting, return_exceptions=True)
    assert leases(folder) == 0


async def test_a_person_who_interrupts_waits_for_no_balancer(tmp_path: Path) -> None:
    async with serving(FakeVendors()) as upstream, serving_process(tmp_path, upstream, **LONG) as server:
        server.signal(signal.SIGINT)
        assert await asyncio.wait_for(server.process.wait(), DEADLINE) == 0


async def test_settings_that_are_loaded_anew_do_not_make_it_ready(tmp_path: Path) -> None:
    config = tmp_path / "sayonce.toml"
    config.write_text("")
    given = LONG | {"SAYONCE_CONFIG": str(config)}
    async with (
        serving(FakeVendors()) as upstream,
        serving_process(tmp_path, upstream, **given) as server,
        httpx.AsyncClient(timeout=DEADLINE) as http,
    ):
        server.signal(signal.SIGTERM)
        await until(lambda: drains(server))
        config.write_text('cors_origins = ["https://app.example"]')
        server.signal(signal.SIGHUP)

        async def anew() -> bool:
            answer = await http.get(f"{server.url}/api/health", headers={"origin": "https://app.example"})
            return "access-control-allow-origin" in answer.headers

        await until(anew)
        assert await drains(server)
