"""Whatever moment a process dies at: what is kept is whole, nothing partial is served, nothing kept is paid again."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from pathlib import Path

import httpx
import pytest

from sayonce.testing.servers import serving
from sayonce.testing.vendors import FakeVendors
from tests.conftest import MakeHouse, until
from tests.e2e import crashing
from tests.e2e.processes import environment, refuse_unsound, serving_process
from tests.e2e.syscalls import calls_of

# Each step of keeping: what is there after a crash at it.
KEEPING = [
    ("sayonce.keep:checked", 1, "miss"),
    ("os.rename", 1, "miss"),  # the sidecar
    ("os.rename", 2, "miss"),  # the blob
    ("sayonce.keep:blob written", 1, "miss"),
    ("sayonce.keep:row committed", 1, "hit"),
]
REFRESHING = [
    ("sayonce.keep:checked", 1, "old"),
    ("os.rename", 1, "old"),
    ("os.rename", 2, "old"),
    ("sayonce.keep:blob written", 1, "old"),
    ("sayonce.keep:row committed", 1, "new"),
    ("sayonce.remove:blob deleted", 1, "new"),
]
REMOVING = [("sayonce.remove:row deleted", 1), ("sayonce.remove:blob deleted", 1)]


async def crash(action: str, step: str, count: int, folder: Path, vendors: FakeVendors, upstream: str) -> None:
    """Runs the action in a process that dies at the step."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.e2e.crashing", action, step, str(count)),
        env=environment(folder, upstream, SAYONCE_LEASE_SECONDS="1", PYTHONPATH=str(Path(__file__).parents[2])),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    if action != "keep":
        assert await process.stdout.readline() == b"prepared\n"
        vendors.behave(seconds=2.0)  # made anew, it sounds otherwise
        process.stdin.write(b"\n")
    told, _ = await process.communicate()
    assert (process.returncode, told) == (-signal.SIGKILL, b""), "the step was not reached"


@pytest.mark.parametrize(("step", "count", "then"), KEEPING)
async def test_a_crash_while_keeping(make_house: MakeHouse, tmp_path: Path, step: str, count: int, then: str) -> None:
    vendors = FakeVendors()
    async with serving(vendors) as upstream:
        await crash("keep", step, count, tmp_path / "data", vendors, upstream)
        kept = refuse_unsound(tmp_path / "data")
        assert kept == (then == "hit")
        house = await make_house(openai_base_url=f"{upstream}/v1", lease_seconds=1)
        assert (await house.speak(crashing.TEXT)).outcome == then
        assert vendors.counts.calls == (1 if then == "hit" else 2)
        assert (await house.speak(crashing.TEXT)).outcome == "hit"
    assert refuse_unsound(tmp_path / "data") == 1


@pytest.mark.parametrize(("step", "count", "then"), REFRESHING)
async def test_a_crash_while_refreshing(
    make_house: MakeHouse, tmp_path: Path, step: str, count: int, then: str
) -> None:
    vendors = FakeVendors()
    async with serving(vendors) as upstream:
        await crash("refresh", step, count, tmp_path / "data", vendors, upstream)
        assert refuse_unsound(tmp_path / "data") == 1
        house = await make_house(openai_base_url=f"{upstream}/v1")
        heard = await house.speak(crashing.TEXT)
        assert heard.outcome == "hit"
        assert ("new" if len(heard.audio) < 17_500 else "old") == then
        assert vendors.counts.calls == 2


@pytest.mark.parametrize(("step", "count"), REMOVING)
async def test_a_crash_while_deleting(make_house: MakeHouse, tmp_path: Path, step: str, count: int) -> None:
    vendors = FakeVendors()
    async with serving(vendors) as upstream:
        await crash("remove", step, count, tmp_path / "data", vendors, upstream)
        assert refuse_unsound(tmp_path / "data") == 0
        house = await make_house(openai_base_url=f"{upstream}/v1")
        assert (await house.speak(crashing.TEXT)).outcome == "miss"
        assert (await house.speak(crashing.TEXT)).outcome == "hit"
    assert refuse_unsound(tmp_path / "data") == 1


async def test_the_order_of_a_landing_by_its_system_calls(tmp_path: Path) -> None:
    """Written, synced, renamed, the folder synced: first the sidecar, then the blob; then the row is committed."""
    vendors = FakeVendors()
    folder = tmp_path / "data"
    async with serving(vendors) as upstream:
        env = environment(folder, upstream, PYTHONPATH=str(Path(__file__).parents[2]))
        command = [sys.executable, "-m", "tests.e2e.crashing", "keep", "never", "1"]
        calls = await asyncio.to_thread(calls_of, command, env)
    kept = [(call.name, _place(call.path, folder)) for call in calls if str(folder / "audio") in call.path]
    landing = [
        *(("write", "partial"), ("fsync", "partial"), ("rename", "sidecar"), ("fsync", "folder")),
        *(("write", "partial"), ("fsync", "partial"), ("rename", "blob"), ("fsync", "folder")),
    ]
    assert kept[-8:] == landing
    renamed = max(n for n, call in enumerate(calls) if call.name == "rename")
    row = [call.name for call in calls[renamed:] if call.path.endswith("catalog.db-wal")]
    assert row[0] == "pwrite64"
    assert {"fsync", "fdatasync"} & set(row)
    before = [call.name for call in calls[:renamed] if call.path.endswith("catalog.db-wal")]
    assert "pwrite64" in before  # the take-off


def _place(path: str, folder: Path) -> str:
    if "/.partial/" in path:
        return "partial"
    if path.endswith(".meta.json"):
        return "sidecar"
    return "blob" if path.endswith(".mp3") else "folder"


KILLS = 50


@pytest.mark.timeout(400)
async def test_kill_9_at_random_moments_under_load(tmp_path: Path) -> None:
    """Fifty times; a text that was heard to its end is kept, and so is never paid for again."""
    chance = random.Random(20_261_120)
    vendors = FakeVendors()
    vendors.behave(first_byte=0.005, pace=0.002, piece=2_000, seconds=0.5)
    heard: dict[str, bytes] = {}
    async with serving(vendors) as upstream:
        for n in range(KILLS):
            async with serving_process(tmp_path, upstream, SAYONCE_LEASE_SECONDS="1") as server:
                loads = [asyncio.create_task(_load(server.url, n, k, heard)) for k in range(4)]
                enough = len(heard) + chance.randrange(6)  # however fast this machine is just now
                await until(lambda: len(heard) >= enough)  # noqa: B023 - it is waited for
                await asyncio.sleep(chance.uniform(0.0, 0.1))
                await server.kill()
                await asyncio.gather(*loads)
            refuse_unsound(tmp_path)
        assert len(heard) > KILLS
        async with serving_process(tmp_path, upstream) as server, httpx.AsyncClient(timeout=30) as http:
            before = vendors.counts.calls
            for text, audio in heard.items():
                answer = await http.post(f"{server.url}/v1/audio/speech", json=_body(text))
                assert answer.content == audio
                assert answer.headers["x-tts-cache"] == "hit"
            assert vendors.counts.calls == before
    assert {vendors.counts.texts[text] for text in heard} <= {1, 2}  # twice: what was in flight at a kill


async def _load(url: str, round_number: int, lane: int, heard: dict[str, bytes]) -> None:
    """Asks for new texts, and old ones, until the gateway is gone."""
    async with httpx.AsyncClient(timeout=30) as http:
        for n in range(10_000):
            text = f"Round {round_number}, lane {lane}, text {n}."
            try:
                answer = await http.post(f"{url}/v1/audio/speech", json=_body(text))
            except httpx.HTTPError:
                return
            assert (answer.status_code, answer.headers["x-tts-cache"]) == (200, "miss")
            assert heard.setdefault(text, answer.content) == answer.content


def _body(text: str) -> dict[str, str]:
    return {"model": "tts-1", "voice": "nova", "input": text}
