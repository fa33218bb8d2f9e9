"""`sayonce seed` where something is away, full, or told to end: nothing is bought that cannot be kept, and it says
what it waits for."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from pathlib import Path

import httpx

from sayonce.testing.servers import serving
from sayonce.testing.vendors import FakeVendors
from tests.conftest import until
from tests.e2e.processes import SAYONCE, command, environment, refuse_unsound, serving_process
from tests.e2e.test_seed import AT_ONCE, book, seed, seeding


async def test_while_nothing_can_be_kept_nothing_more_is_bought(tmp_path: Path) -> None:
    vendors, number = FakeVendors(), 60
    manifest, aside = book(tmp_path, number), tmp_path / "audio" / ".partial"
    async with serving(vendors) as upstream:
        env = environment(tmp_path, upstream)
        assert (await seed(book(tmp_path, 1), env=env))[1]["made"] == 1
        shutil.rmtree(aside)
        aside.write_text("what keeps every file from being written")
        words = ("seed", str(book(tmp_path, number)), "--concurrency", str(AT_ONCE), "--json")
        pipe = asyncio.subprocess.PIPE
        run = await asyncio.create_subprocess_exec(*SAYONCE, *words, env=env, stdout=pipe, stderr=pipe)
        assert run.stderr is not None
        while not (line := (await run.stderr.readline()).decode()).startswith("waits: "):
            assert line, "it ended without a word"
        assert "cannot be kept. See that the storage" in line
        assert vendors.counts.calls <= 1 + AT_ONCE
        aside.unlink()
        aside.mkdir()
        out, _ = await run.communicate()
    assert (run.returncode, json.loads(out)["failed"]) == (0, 0)
    assert vendors.counts.calls == number, "what was bought is kept when there is room"
    assert refuse_unsound(tmp_path) == number
    assert manifest.exists()


async def test_what_can_never_be_kept_is_told_and_not_bought_again_and_again(tmp_path: Path) -> None:
    vendors = FakeVendors()
    async with serving(vendors) as upstream:
        env = environment(tmp_path, upstream)
        assert (await seed(book(tmp_path, 1), env=env))[1]["made"] == 1
        shutil.rmtree(tmp_path / "audio" / ".partial")
        (tmp_path / "audio" / ".partial").write_text("")
        code, told, err = await seed(book(tmp_path, 40), "--concurrency", str(AT_ONCE), env=env)
    assert (code, told["made"], told["failed"]) == (1, 0, 39)
    assert "line 40: " in err or "and 19 more" in err
    assert vendors.counts.calls <= 1 + AT_ONCE


async def test_told_to_end_it_lands_what_flies(tmp_path: Path) -> None:
    vendors, number = FakeVendors(), 400
    vendors.behave(first_byte=0.1)
    async with serving(vendors) as upstream:
        env = environment(tmp_path, upstream)
        async with seeding(book(tmp_path, number), env) as process:
            await until(lambda: vendors.counts.finished >= AT_ONCE)
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 128 + signal.SIGTERM
    assert refuse_unsound(tmp_path) == vendors.counts.calls < number


async def test_what_is_seeded_is_no_hit_and_saves_nothing(tmp_path: Path) -> None:
    vendors, number = FakeVendors(), 4
    async with serving(vendors) as upstream:
        env = environment(tmp_path, upstream, SAYONCE_UPSTREAMS='{"openai": {"price": 15}}')
        for formats in (("mp3", "wav"), ("flac",), ("mp3",)):
            words = [word for name in formats for word in ("--format", name)]
            assert (await seed(book(tmp_path, number), *words, env=env))[0] == 0
        async with serving_process(tmp_path, upstream) as server, httpx.AsyncClient(base_url=server.url) as http:
            stats = (await http.get("/api/cache-stats")).json()["stats"]
    assert (stats["entries"], vendors.counts.calls) == (3 * number, number)
    assert (stats["hits"], stats["hit_rate"], stats["saved"], stats["most_used"]) == (0, 0.0, 0.0, [])
    assert stats["spent"] > 0


async def test_the_voices_most_listened_to_are_those_that_were_heard(tmp_path: Path) -> None:
    vendors = FakeVendors()
    async with serving(vendors) as upstream:
        env = environment(tmp_path, upstream)
        manifest = tmp_path / "plain.csv"
        manifest.write_text("text,voice\nOne.,\nTwo.,openai/alloy\n")
        code, _, err = await seed(manifest, "--popular", "1", env=env)
        assert (code, "No voice was listened to yet" in err) == (2, True)
        assert (await seed(manifest, "--voice", "openai/alloy", env=env))[1]["made"] == 2
        assert (await seed(manifest, "--popular", "1", env=env))[0] == 2, "what is seeded nobody has heard yet"
        heard = ("say", "--output", str(tmp_path / "heard.mp3"), "--voice")
        for voice, text in (("openai/onyx", "Once."), ("openai/nova", "Twice."), ("openai/nova", "Again.")):
            assert (await command(*heard, voice, text, env=env))[0] == 0
        assert (await seed(manifest, "--popular", "1", env=env))[1]["made"] == 2
        assert (await seed(manifest, "--voice", "openai/nova", env=env))[1]["kept"] == 2
        assert (await seed(manifest, "--popular", "1", "--voice", "openai/nova", env=env))[0] == 2
    assert {body["voice"] for body in vendors.counts.bodies[-2:]} == {"nova"}


async def test_what_another_run_lets_be_is_not_told_as_made(tmp_path: Path) -> None:
    vendors, number = FakeVendors(), 200
    vendors.behave(first_byte=0.1)
    async with serving(vendors) as upstream:
        env = environment(tmp_path, upstream)
        manifest = book(tmp_path, number)
        async with seeding(manifest, env) as other:
            await until(lambda: vendors.counts.calls >= AT_ONCE)
            run = asyncio.create_task(seed(manifest, "--concurrency", str(AT_ONCE), env=env))
            await until(lambda: vendors.counts.calls >= 10 * AT_ONCE)
            other.send_signal(signal.SIGTERM)
            await other.wait()
        code, told, err = await run
    missing = number - vendors.counts.calls
    assert missing <= told["failed"] <= missing + AT_ONCE, "what the other had begun when it was told to end is made"
    assert (code == 0) == (told["failed"] == 0)
    assert ("are left: seed it again" in err) == (code == 1)
