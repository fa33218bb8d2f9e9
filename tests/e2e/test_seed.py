"""`sayonce seed`, in processes of its own: what is kept is kept, whatever befalls the run."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from sayonce.testing.redis import RedisServer
from sayonce.testing.servers import serving
from sayonce.testing.vendors import FakeVendors
from tests.conftest import until
from tests.e2e.processes import SAYONCE, command, environment, refuse_unsound, serving_process
from tests.e2e.test_queue import settings_of, worker

LIFE_REVIEW = Path(__file__).parents[2] / "examples" / "life-review.yaml"
NOWHERE = "http://127.0.0.1:9"
AT_ONCE = 4


def book(folder: Path, number: int, **more: str) -> Path:
    """A manifest of so many lines."""
    path = folder / "book.jsonl"
    rows = [{"text": f"Line {n} of a book.", "voice": "openai/nova", **more} for n in range(number)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


async def seed(manifest: Path, *words: str, env: dict[str, str]) -> tuple[int, dict[str, Any], str]:
    """Its exit code, the JSON that it ends with, and what it tells people."""
    code, out, err = await command("seed", str(manifest), "--json", *words, env=env)
    return code, json.loads(out.splitlines()[-1]) if out else {}, err


def _interruptible() -> None:
    """What a shell runs in the background inherits that interrupts are ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@asynccontextmanager
async def seeding(manifest: Path, env: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """A run that is under way."""
    words = ("seed", str(manifest), "--concurrency", str(AT_ONCE))
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *(*SAYONCE, *words), env=env, stdout=quiet, stderr=quiet, preexec_fn=_interruptible
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_the_life_review_is_spoken_once(tmp_path: Path) -> None:
    env = environment(tmp_path, NOWHERE)
    code, planned, _ = await seed(LIFE_REVIEW, "--plan", env=env)
    assert (code, planned["items"], planned["make"], planned["kept"]) == (0, 24, 24, 0)
    code, told, _ = await seed(LIFE_REVIEW, env=env)
    assert (code, told["made"], told["kept"], told["failed"], told["cost"]) == (0, 24, 0, 0, 0.0)
    code, told, _ = await seed(LIFE_REVIEW, env=env)
    assert (code, told) == (0, {"made": 0, "kept": 24, "failed": 0, "characters": 0, "cost": 0.0})
    async with serving_process(tmp_path, NOWHERE) as server, httpx.AsyncClient(base_url=server.url) as http:
        shown = (await http.get("/api/collections/life-review")).json()
        assert {each["role"] for each in shown["entries"]} == {"narrative", "question"}
        assert (await http.get(shown["entries"][0]["url"])).headers["content-type"] == "audio/mpeg"
    assert refuse_unsound(tmp_path) == 24


async def test_killed_again_and_again_it_pays_at_most_for_what_was_in_flight(tmp_path: Path) -> None:
    vendors, number, kills = FakeVendors(), 60, 3
    vendors.behave(first_byte=0.05)
    manifest = book(tmp_path, number)
    async with serving(vendors) as upstream:
        env = environment(tmp_path, upstream, SAYONCE_LEASE_SECONDS="1")
        for kill in range(kills):
            async with seeding(manifest, env) as process:
                await until(lambda kill=kill: vendors.counts.calls > (kill + 1) * number // 5)
                process.kill()
                await process.wait()
        code, told, _ = await seed(manifest, "--concurrency", str(AT_ONCE), env=env)
    assert (code, told["failed"], told["made"] + told["kept"]) == (0, 0, number)
    assert len(vendors.counts.texts) == number
    assert vendors.counts.calls <= number + kills * AT_ONCE
    assert refuse_unsound(tmp_path) == number


async def test_interrupted_it_leaves_nothing_to_be_made_unasked(tmp_path: Path) -> None:
    vendors, number = FakeVendors(), 400
    vendors.behave(first_byte=0.1)
    manifest = book(tmp_path, number)
    async with serving(vendors) as upstream:
        env = environment(tmp_path, upstream)
        async with seeding(manifest, env) as process:
            await until(lambda: vendors.counts.finished >= AT_ONCE)
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 130
        made = vendors.counts.calls
        assert made < number
        async with serving_process(tmp_path, upstream) as server, httpx.AsyncClient(base_url=server.url) as http:
            told = (await http.get("/api/seeds/book")).json()
            assert (told["status"], told["kept"], told["left"]) == ("stopped", made, 0)
            assert vendors.counts.calls == made


async def test_two_of_one_collection_at_once_pay_once(tmp_path: Path) -> None:
    vendors, number = FakeVendors(), 30
    vendors.behave(first_byte=0.05)
    manifest = book(tmp_path, number)
    async with serving(vendors) as upstream:
        env = environment(tmp_path, upstream)
        ended = await asyncio.gather(seed(manifest, env=env), seed(manifest, env=env))
    assert [code for code, _, _ in ended] == [0, 0]
    assert vendors.counts.texts == {f"Line {n} of a book.": 1 for n in range(number)}


async def test_with_redis_and_two_workers(tmp_path: Path, redis: RedisServer) -> None:
    given = settings_of(redis)
    async with worker(tmp_path, NOWHERE, **given), worker(tmp_path, NOWHERE, **given):
        env = environment(tmp_path, NOWHERE, **given)
        assert (await seed(LIFE_REVIEW, env=env))[1]["made"] == 24
        assert (await seed(LIFE_REVIEW, env=env))[1]["kept"] == 24
    assert refuse_unsound(tmp_path) == 24


async def test_what_cannot_be_made_is_told_by_its_line_and_the_rest_is_made(tmp_path: Path) -> None:
    vendors, number = FakeVendors(), 30
    vendors.behave(status=400, why="Not this one.", times=3)
    async with serving(vendors) as upstream:
        env = environment(tmp_path, upstream)
        code, told, err = await seed(book(tmp_path, number), "--concurrency", "1", env=env)
    assert (code, told["made"], told["failed"]) == (1, number - 3, 3)
    for line in (1, 2, 3):
        assert f"  line {line}: 'openai'" in err
    assert "of a book" not in err, "nobody reads texts in a log"


async def test_a_manifest_that_is_wrong_names_the_row_and_pays_nothing(tmp_path: Path) -> None:
    manifest = tmp_path / "wrong.csv"
    manifest.write_text("text,voice,speed\nFine.,openai/nova,1\n,openai/nova,1\nAlso fine.,openai/nova,quick\n")
    vendors = FakeVendors()
    async with serving(vendors) as upstream:
        code, told, err = await seed(manifest, env=environment(tmp_path, upstream))
        assert (code, told) == (2, {})
        assert "line 3: The field 'text' is missing." in err
        assert "line 4: The field 'speed' is wrong" in err
        for wrong in (("missing.yaml",), (str(book(tmp_path, 2)), "--max-cost", "0.000001")):
            code, _, err = await command("seed", *wrong, env=environment(tmp_path, upstream))
            assert (code, bool(err)) == (2, True), err
    assert vendors.counts.calls == 0
