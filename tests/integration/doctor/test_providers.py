"""What the doctor says of those who speak, who are not made to."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from sayonce.errors import MissingExtra
from sayonce.providers import espeak
from tests.conftest import until
from tests.integration.doctor.conftest import answering, http_answer, told


async def test_a_chain_of_whom_nobody_can_speak(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise MissingExtra("The local voice", extra="local")

    monkeypatch.setattr(espeak, "_data_path", nowhere)
    found = await told(
        chain="elevenlabs,deepgram,espeak,wispr,odd",
        deepgram_base_url="http://127.0.0.1:1",
        upstreams={"odd": {"provider": "openai", "base_url": "no address"}},
    )
    assert found["provider elevenlabs", "set up"].remedy == "Set ELEVENLABS_API_KEY."
    assert found["provider deepgram", "set up"].verdict == "ok"
    assert found["provider deepgram", "reached"].verdict == "failed"
    assert "sayonce[local]" in found["provider espeak", "set up"].remedy
    assert "endpoint" in found["provider wispr", "set up"].said
    assert "base_url" in found["provider odd", "set up"].said


async def test_a_key_that_is_not_set() -> None:
    found = await told(chain="openai,mine", upstreams={"openai": {"voice": "x"}, "mine": {"provider": "deepgram"}})
    assert found["provider openai", "key"].remedy == "Set OPENAI_API_KEY."
    assert found["provider mine", "key"].remedy == "Set api_key in [upstreams.mine]."


async def test_a_described_api_is_sent_nothing() -> None:
    """Any request might be one to speak."""
    async with answering(lambda _: b"") as (address, heard):
        parrot = {"provider": "declared", "url": f"{address}/say?text={{text}}", "api_key": "k"}
        assert (await told(chain="parrot", upstreams={"parrot": parrot}))[
            "provider parrot", "reached"
        ].verdict == "ok"
        await until(lambda: heard)
        assert heard == [b""]
        parrot["url"] = parrot["url"].replace("http:", "https:")
        found = await told(chain="parrot", upstreams={"parrot": parrot})
        assert "cannot be reached" in found["provider parrot", "reached"].said
        assert heard[-1].startswith(b"\x16\x03"), "TLS was spoken, and nothing else"


async def test_a_vendor_is_greeted_without_the_key() -> None:
    async with answering(lambda _: http_answer(401, date=time.time())) as (address, heard):
        found = await told(chain="openai", openai_base_url=f"{address}/v1", openai_api_key="sk-never-told")
    assert found["provider openai", "reached"].verdict == "ok"
    assert [request.split(b"\r\n")[0] for request in heard] == [b"HEAD / HTTP/1.1"]
    assert b"sk-never-told" not in heard[0]


async def test_a_vendor_that_hangs() -> None:
    async with answering(lambda _: None) as (address, _):
        openai = {"connect_timeout": 0.2}
        found = await told(chain="openai", openai_base_url=address, openai_api_key="k", upstreams={"openai": openai})
    assert "in time" in found["provider openai", "reached"].said
