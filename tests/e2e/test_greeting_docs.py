"""The page on greetings: its commands do what it says; and what `sayonce keys tenant` leaves as it is."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

from sayonce.catalog.catalog import Catalog
from sayonce.catalog.records import Tenant
from sayonce.catalog.registry import connect
from sayonce.speech.voices import VoiceSettings
from tests.conftest import until
from tests.e2e.processes import SAYONCE, command, environment, serving_process

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "greetings.md").read_text(encoding="utf-8")


async def typed(written: str, env: dict[str, str]) -> str:
    written = written.replace("sayonce keys", f"{' '.join(SAYONCE)} keys")
    process = await asyncio.create_subprocess_exec("bash", "-c", written, env=env, stdout=-1, stderr=-1)
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


async def test_its_commands(tmp_path: Path) -> None:
    env = environment(tmp_path, "", OPENAI_BASE_URL="", OPENAI_API_KEY="")
    put, post, change, show, end, keys = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    async with serving_process(tmp_path, "", OPENAI_BASE_URL="", OPENAI_API_KEY="") as server:

        async def told(written: str) -> dict[str, Any]:
            answer: dict[str, Any] = json.loads(
                await typed(written.replace("http://127.0.0.1:8700", server.url), env)
            )
            return answer

        assert (await told(put))["voice"] == {"provider": "espeak", "voice": "en-gb", "speed": 0.9}
        first, second = await told(post), await told(change)
        assert {each["status"] for each in (first, second)} == {"ok"}
        assert first.keys() == json.loads(re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)[0]).keys()
        assert first["content_hash"] != second["content_hash"]
        now = await told(show)
        assert (now["status"], now["text"]) == ("ok", "Good evening. We open again at nine.")
        await typed(f"curl --fail --silent '{now['audio_url']}'  > {tmp_path}/heard.mp3", env)
        assert (tmp_path / "heard.mp3").stat().st_size > 3_000
        assert (await told(end))["greeting"] is None
        assert (await told(show))["status"] == "none"
        await typed(keys, env)

        async def made() -> bool:
            return bool((await told(show))["status"] == "ok")

        await until(made)
        assert (await told(show))["text"] == "Good morning."


async def test_what_the_command_is_not_told_stays(tmp_path: Path) -> None:
    env = environment(tmp_path, "http://127.0.0.1:9")
    catalog = Catalog(connect(f"sqlite:///{tmp_path}/catalog.db"), time.time)

    async def tenant(*words: str) -> Tenant | None:
        code, _, err = await command("keys", "tenant", "shop", *words, env=env)
        assert (code, "set tenant shop" in err) == (0, True), err
        return await catalog.tenant("shop")

    try:
        manner = ("--voice", "nova", "--speed", "1.25", "--format", "ulaw")
        everything = await tenant("--rate", "5", "--public", "--chain", "openai", "--greeting", "Hello.", *manner)
        voice = VoiceSettings(voice="nova", speed=1.25, format="ulaw")
        known = Tenant("shop", 5.0, public=True, chain=("openai",), voice=voice, greeting="Hello.")
        assert everything == known
        assert await tenant() == known
        less = await tenant("--no-public", "--voice", "", "--reset", "rate", "--reset", "speed")
        assert less == Tenant("shop", chain=("openai",), voice=VoiceSettings(format="ulaw"), greeting="Hello.")
        last = await tenant("--greeting", "", "--chain", "", "--budget", "7", "--reset", "format")
        assert last == Tenant("shop", budget=7.0)
        for words, named in ((("--speed", "-1"), "'speed'"), (("--reset", "id"), "'id'"), (("--format", "x"), "mp3")):
            code, _, err = await command("keys", "tenant", "shop", *words, env=env)
            assert (code, named in err, "Traceback" in err) == (2, True, False), err
        assert await catalog.tenant("shop") == last
    finally:
        await catalog.aclose()
