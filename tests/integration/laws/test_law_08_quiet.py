"""Law 8: vendor keys and spoken texts appear in no log, error or metric."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator

import pytest

from sayonce.telemetry import logs
from tests.conftest import MakeHouse


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """What a test sets up goes with it."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)


TEXT = "My grandmother's pin is four two four two."
KEY = "sk-very-secret-key"


@pytest.mark.parametrize("style", ["json", "console"])
async def test_nothing_leaks(make_house: MakeHouse, capfd: pytest.CaptureFixture[str], style: str) -> None:
    logs.configure("debug", style)
    house = await make_house(openai_api_key=KEY)
    answers = [await house.speak(TEXT)]
    for trouble in (
        {"status": 400, "error": {"message": f"Cannot say: {TEXT}"}},
        {"status": 500, "error": {"message": TEXT}, "times": 1},
        {"key": "another"},
        {"trouble": "garbage", "times": 1},
        {"seconds": 100.0},
    ):
        house.vendors.behave(**trouble)
        answers.append(await house.speak(TEXT, variation=len(answers)))
    house.vendors.behave()
    bad = await house.http.post("/v1/audio/speech", content=f'{{"input": "{TEXT}", "voice": 7, '.encode())
    metrics = (await house.http.get("/metrics")).text
    told = "".join(str(answer.error) for answer in answers) + bad.text + metrics + "".join(capfd.readouterr())
    assert "tts.synthesize" in told
    for secret in (TEXT, "grandmother", "pin is", KEY):
        assert secret not in told


async def test_the_catalog_holds_no_text_unless_told(make_house: MakeHouse) -> None:
    house = await make_house(keep_text=False)
    await house.speak(TEXT)
    house.gateway.hot.clear()
    assert (await house.speak(TEXT)).outcome == "hit"
    with sqlite3.connect(house.gateway.settings.data_dir / "catalog.db") as database:
        assert TEXT not in "\n".join(database.iterdump())
    database.close()


async def test_equal_texts_have_equal_names_and_no_name_tells_the_text(
    make_house: MakeHouse, capfd: pytest.CaptureFixture[str]
) -> None:
    import hashlib
    import json

    logs.configure("info", "json")
    house = await make_house()
    await house.speak(TEXT)
    await house.speak(TEXT, variation=1)
    events = [json.loads(line) for line in capfd.readouterr().err.splitlines() if "tts.synthesize" in line]
    names = {event["text_hash"] for event in events}
    assert len(events) == 2
    assert len(names) == 1
    assert not hashlib.sha256(TEXT.encode()).hexdigest().startswith(names.pop())
    assert {
        *("event", "business_id", "provider", "voice_id", "text_hash", "cached", "latency_ms"),
        *("storage_upload_ms", "signed_url_ms", "success", "error", "timestamp"),
    } <= events[0].keys()
