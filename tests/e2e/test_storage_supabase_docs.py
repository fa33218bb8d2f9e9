"""The page on storage at Supabase is so, as far as a stand-in can tell."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from sayonce.testing.servers import serving
from sayonce.testing.supabase import FakeSupabase
from sayonce.testing.vendors import FakeVendors
from tests.conftest import MakeHouse
from tests.e2e.processes import command, environment

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "storage-supabase.md").read_text(encoding="utf-8")


def fenced(language: str) -> str:
    [block] = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(block)


@pytest.fixture
async def fake() -> FakeSupabase:
    return FakeSupabase()


@pytest.fixture
async def project(fake: FakeSupabase) -> AsyncIterator[str]:
    async with serving(fake) as url:
        yield url


def keys(fake: FakeSupabase) -> list[str]:
    return sorted(key for key in fake.buckets["voice"].objects if not key.endswith(".meta.json"))


async def test_the_pages_commands(fake: FakeSupabase, project: str, tmp_path: Path) -> None:
    lines = fenced("sh").replace("https://xyz.supabase.co", project).replace("sb_secret_your_key", fake.service_key)
    exported = dict(re.findall(r"^export (\w+)=(.*)$", lines, re.MULTILINE))
    assert set(exported) == {"SUPABASE_URL", "SUPABASE_SERVICE_KEY", "SAYONCE_STORAGE"}
    [said] = re.findall(r'^sayonce say "(.*)" --output (\S+)$', lines, re.MULTILINE)
    async with serving(FakeVendors()) as vendor:
        env = environment(tmp_path / "data", vendor, **exported)
        for outcome in ("miss", "hit"):
            code, out, err = await command("say", said[0], "--output", str(tmp_path / said[1]), env=env)
            assert (code, outcome in out + err) == (0, True), out + err
    [key] = keys(fake)
    assert re.fullmatch(r"prod/audio/[0-9a-f]{2}/[0-9a-f]{64}-[0-9a-f]{64}\.mp3", key)
    assert fake.buckets["voice"].objects[key].data == (tmp_path / said[1]).read_bytes()
    assert (fake.counts["upload"], fake.counts["download"], fake.buckets["voice"].public) == (
        3,
        1,
        False,
    )  # the first was told of no bucket


async def test_the_pages_table(
    fake: FakeSupabase, project: str, tmp_path: Path, make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway redirects to where the project is reached from outside; there the signature holds."""
    (tmp_path / "sayonce.toml").write_text(fenced("toml").replace("https://xyz.supabase.co", project))
    monkeypatch.delenv("SUPABASE_URL", raising=False)
    monkeypatch.setenv("SUPABASE_SERVICE_KEY", fake.service_key)
    house = await make_house()
    heard = await house.speak()
    [key] = keys(fake)
    assert re.fullmatch(r"prod/default/\d{4}/\d\d/[0-9a-f]{64}-[0-9a-f]{64}\.mp3", key)
    answer = await house.http.get(f"/audio/{heard.headers['x-content-hash']}.mp3")
    outside = "https://voice.example.com/storage/v1/object/sign/voice/prod/default/"
    assert (answer.status_code, answer.headers["location"].startswith(outside)) == (302, True)
    async with httpx.AsyncClient() as http:
        there = await http.get(answer.headers["location"].replace("https://voice.example.com", project))
    assert there.content == (await house.speak()).audio
    assert there.headers["content-type"] == "audio/mpeg"
    assert there.headers["cache-control"] == "max-age=31536000, private, immutable"
