"""Many workers behind one address, and settings that are loaded anew."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from sayonce.testing.servers import serving
from sayonce.testing.vendors import FakeVendors
from tests.conftest import until
from tests.e2e.processes import SAYONCE, Server, serving_process

TEXT = "Said by whoever is free."


async def ask(server: Server, text: str = TEXT) -> httpx.Response:
    async with httpx.AsyncClient(timeout=60) as http:  # each on a connection of its own, so to any worker
        body = {"model": "tts-1", "voice": "nova", "input": text}
        return await http.post(f"{server.url}/v1/audio/speech", json=body)


async def metric(server: Server, name: str) -> float:
    async with httpx.AsyncClient(timeout=60) as http:
        page = (await http.get(f"{server.url}/metrics")).text
    found = re.search(rf"^{re.escape(name)} ([\d.e+]+)$", page, re.MULTILINE)
    return float(found[1]) if found else 0.0


def workers(server: Server) -> list[psutil.Process]:
    return [each for each in psutil.Process(server.process.pid).children() if "--worker" in command_of(each)]


def command_of(process: psutil.Process) -> list[str]:
    """What it was started with; nothing where it has just died."""
    with suppress(psutil.NoSuchProcess):  # a zombie, too
        return process.cmdline()
    return []


@pytest.fixture
def two(tmp_path: Path) -> dict[str, str]:
    return {"SAYONCE_WORKERS": "2", "SAYONCE_FLUSH_SECONDS": "0.1"}


async def test_both_work_and_are_one_in_the_figures(tmp_path: Path, two: dict[str, str]) -> None:
    vendors = FakeVendors()
    async with serving(vendors) as upstream, serving_process(tmp_path / "data", upstream, **two) as server:
        answers = [await ask(server) for _ in range(60)]
        assert {answer.status_code for answer in answers} == {200}
        assert vendors.counts.calls == 1
        assert len(await until(lambda: workers(server))) == 2
        hits = await metric(server, 'sayonce_answers_total{outcome="hit"}')
        lane = await metric(server, 'sayonce_lane_answered_total{door="openai"}')
        assert hits == 59
        assert 40 <= lane <= 59, "each worker learns for itself"

        async def written() -> bool:
            async with httpx.AsyncClient() as http:
                stats = (await http.get(f"{server.url}/api/cache-stats")).json()["stats"]
            return (stats["hits"], stats["misses"]) == (59, 1)

        await until(written)


async def test_who_dies_is_replaced_and_nobody_is_refused(tmp_path: Path, two: dict[str, str]) -> None:
    async with serving(FakeVendors()) as upstream, serving_process(tmp_path / "data", upstream, **two) as server:
        await ask(server)
        before = {each.pid for each in await until(lambda: len(workers(server)) == 2 and workers(server))}
        os.kill(min(before), signal.SIGKILL)
        asked = [asyncio.create_task(ask(server)) for _ in range(20)]
        for done in asyncio.as_completed(asked):
            assert (await done).status_code == 200
        after = await until(lambda: {each.pid for each in workers(server)} - before)
        assert len(after) == 1


async def test_the_workers_end_with_their_supervisor(tmp_path: Path, two: dict[str, str]) -> None:
    async with serving(FakeVendors()) as upstream, serving_process(tmp_path / "data", upstream, **two) as server:
        await ask(server)
        orphans = await until(lambda: len(workers(server)) == 2 and workers(server))
        server.signal(signal.SIGKILL)
        await until(lambda: not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in orphans))


async def test_they_end_in_order(tmp_path: Path, two: dict[str, str]) -> None:
    async with serving(FakeVendors()) as upstream, serving_process(tmp_path / "data", upstream, **two) as server:
        await ask(server)
        server.signal(signal.SIGTERM)
        assert await server.process.wait() == 0


async def test_wrong_settings_end_it(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(*SAYONCE, "serve", "--workers", "2", "--port", "0"),
        env={"PATH": os.environ["PATH"], "SAYONCE_DATA_DIR": str(tmp_path), "SAYONCE_CHAIN": "nobody"},
        stderr=asyncio.subprocess.PIPE,
    )
    _, told = await process.communicate()
    assert (process.returncode, b"not configured" in told) == (2, True)


@pytest.mark.parametrize("workers_", ["1", "2"])
async def test_settings_are_loaded_anew_while_it_serves(tmp_path: Path, workers_: str) -> None:
    config = tmp_path / "sayonce.toml"
    config.write_text("")
    vendors = FakeVendors()
    given = {"SAYONCE_CONFIG": str(config), "SAYONCE_WORKERS": workers_, "SAYONCE_LOG_LEVEL": "info"}
    async with (
        serving(vendors) as upstream,
        serving_process(tmp_path / "data", upstream, **given) as server,
        httpx.AsyncClient(timeout=60, base_url=server.url) as http,
    ):
        body = {"model": "tts-1", "voice": "nova", "input": TEXT}
        for _ in range(6):
            answer = await http.post("/v1/audio/speech", json=body)
        assert (answer.headers["x-tts-cache"], answer.headers["x-tts-provider"]) == ("hit", "openai")
        config.write_text('[upstreams.openai]\nprovider = "openai"\nidentity = "another"\n')
        server.signal(signal.SIGHUP)

        async def anew() -> bool:
            return (await http.post("/v1/audio/speech", json=body)).headers["x-tts-cache"] != "hit"

        await until(anew)  # on the same connection, which the lane has answered on: another identity, another recipe
        config.write_text("chain = 7\ncolour = 'red'\n")
        server.signal(signal.SIGHUP)
        assert (await http.post("/v1/audio/speech", json=body)).status_code == 200, "wrong ones change nothing"
        assert vendors.counts.calls == 2


async def test_two_gateways_do_not_share_a_port_unawares(tmp_path: Path, two: dict[str, str]) -> None:
    async with serving(FakeVendors()) as upstream, serving_process(tmp_path / "data", upstream, **two) as server:
        process = await asyncio.create_subprocess_exec(
            *(*SAYONCE, "serve", "--workers", "2", "--port", server.url.rpartition(":")[2]),
            env={"PATH": os.environ["PATH"], "SAYONCE_DATA_DIR": str(tmp_path / "other")},
            stderr=asyncio.subprocess.PIPE,
        )
        _, told = await process.communicate()
        assert (process.returncode, b"cannot listen" in told) == (2, True)


@pytest.mark.parametrize("workers_", ["1", "2"])
async def test_told_to_end_it_lands_what_is_paid_for_and_writes_its_counts(tmp_path: Path, workers_: str) -> None:
    vendors = FakeVendors()
    given = {"SAYONCE_WORKERS": workers_, "SAYONCE_FLUSH_SECONDS": "600", "SAYONCE_DEADLINE": "0.3"}
    async with serving(vendors) as upstream:
        async with serving_process(tmp_path / "data", upstream, **given) as server:
            for _ in range(10):
                assert (await ask(server)).status_code == 200
            vendors.behave(first_byte=1.5)
            assert (await ask(server, "Said too late for whoever asked.")).status_code == 504
            server.signal(signal.SIGTERM)
            assert await server.process.wait() == 0
        async with serving_process(tmp_path / "data", upstream) as again, httpx.AsyncClient() as http:
            stats = (await http.get(f"{again.url}/api/cache-stats")).json()["stats"]
            assert (stats["entries"], stats["hits"]) == (2, 9)


async def test_settings_that_went_wrong_end_no_worker_that_serves(tmp_path: Path, two: dict[str, str]) -> None:
    config = tmp_path / "sayonce.toml"
    config.write_text("")
    given = two | {"SAYONCE_CONFIG": str(config)}
    async with serving(FakeVendors()) as upstream, serving_process(tmp_path / "data", upstream, **given) as server:
        await ask(server)
        before = {each.pid for each in await until(lambda: len(workers(server)) == 2 and workers(server))}
        config.write_text("colour = 'red'")
        doomed = min(before)
        os.kill(doomed, signal.SIGKILL)
        await until(lambda: doomed not in {each.pid for each in workers(server)})
        config.write_text("")
        await until(lambda: {each.pid for each in workers(server) if each.status() != psutil.STATUS_ZOMBIE} - before)
        assert max(before) in {each.pid for each in workers(server)}
        assert (await ask(server)).status_code == 200
