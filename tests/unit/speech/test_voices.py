"""How a business speaks: each wrong field is named."""

from __future__ import annotations

import math
from typing import Any

import pytest

from sayonce.errors import InvalidRequest
from sayonce.speech.formats import TELEPHONE
from sayonce.speech.requests import Owner, SpeechRequest
from sayonce.speech.voices import VoiceSettings

ALL: dict[str, Any] = {
    "provider": "elevenlabs",
    "model": "eleven_turbo_v2_5",
    "voice": "Rachel",
    "language": "de",
    "speed": 1.1,
    "pitch": -1,
    "style": "calm",
    "instructions": "Speak slowly.\nAnd clearly.",
    "options": {"stability": 0.4, "deep": {"er": [1, None]}},
    "format": "ulaw",
}


def test_what_is_told_is_kept_and_asked_for() -> None:
    voice = VoiceSettings().changed(ALL)
    assert voice.told() == ALL
    assert VoiceSettings.loaded(voice.dumped()) == voice == VoiceSettings().changed(voice.told())
    wanted = {name: value for name, value in ALL.items() if name not in ("provider", "format")}
    owner = Owner("shop")
    asked = SpeechRequest(text="Hi.", upstream="elevenlabs", format=TELEPHONE["ulaw"], owner=owner, **wanted)
    assert voice.request("Hi.", owner) == asked
    assert isinstance(hash(voice), int)


def test_what_is_as_usual_is_not_kept() -> None:
    assert VoiceSettings().dumped() is None
    assert VoiceSettings().changed({"speed": 1, "options": {}, "format": "mp3", "voice": None}) == VoiceSettings()
    assert VoiceSettings.loaded(None).request("Hi.", Owner()) == SpeechRequest(text="Hi.")


def test_a_change_leaves_the_rest_and_null_is_as_usual_again() -> None:
    voice = VoiceSettings().changed(ALL)
    assert voice.changed({"speed": None, "language": "en"}).told() == (
        {name: value for name, value in ALL.items() if name != "speed"} | {"language": "en"}
    )
    assert voice.changed(dict.fromkeys(ALL)) == VoiceSettings()


def test_another_provider_takes_nothing_over_that_is_the_first_ones_own() -> None:
    voice = VoiceSettings().changed(ALL)
    own = ("model", "voice", "options")
    rest = {name: value for name, value in ALL.items() if name not in own}
    assert voice.changed({"upstream": "openai"}).told() == rest | {"provider": "openai"}
    assert voice.changed({"provider": "openai", "voice": "nova"}).voice == "nova"
    assert voice.changed({"provider": "elevenlabs"}) == voice


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            (name, value)
            for name in ("provider", "model", "voice", "language")
            for value in ("", 7, "a\nb", "x" * 201)
        ),
        *(("speed", value) for value in (0, -1, "1", True, math.nan, math.inf, [])),
        *(("pitch", value) for value in ("high", math.inf, False)),
        *((name, value) for name in ("style", "instructions") for value in (1, "x" * 4_097, "a\x00b")),
        *(("options", value) for value in ("loud", [1], 7)),
        *(("format", value) for value in ("mp9", "", 7, [])),
    ],
)
def test_what_is_wrong_is_named(name: str, value: object) -> None:
    with pytest.raises(InvalidRequest) as raised:
        VoiceSettings().changed(ALL | {name: value})
    assert raised.value.param == name
    assert f"'{name}'" in raised.value.message
    assert raised.value.remedy


@pytest.mark.parametrize("name", ["speeed", "text", "", "scope"])
def test_what_no_voice_has_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        VoiceSettings().changed({name: 1})
    assert raised.value.param == name
    assert "instructions" in raised.value.remedy
