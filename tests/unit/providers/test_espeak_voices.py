"""Stand-ins: every well-known voice has one, and no two sound alike."""

from __future__ import annotations

from collections import Counter

from sayonce.providers.espeak_voices import MODELS, STAND_INS
from sayonce.speech.dialects import OPENAI_MODELS, OPENAI_VOICES


def test_no_two_stand_ins_are_alike() -> None:
    told = Counter((how.variant, how.pitch, how.range, how.language) for how in STAND_INS.values())
    assert [how for how, count in told.items() if count > 1] == []
    assert len(STAND_INS) > 150


def test_they_are_within_what_espeak_takes() -> None:
    assert all(0 <= how.pitch <= 99 and 0 <= how.range <= 99 for how in STAND_INS.values())
    assert all(how.variant[0] == {"female": "f", "male": "m"}.get(how.gender, "f") for how in STAND_INS.values())


def test_a_models_language_is_its_own() -> None:
    assert STAND_INS["aura-2-julius-de"].language == "de"
    assert STAND_INS["aura-asteria-en"].language is None
    assert STAND_INS["21m00tcm4tlvdq8ikwam"].id == "21m00Tcm4TlvDq8ikWAM"


def test_openais_voices_are_as_they_were() -> None:
    """Their recipes are kept in catalogs: another sound under the same recipe would be the wrong voice."""
    nova, cedar = STAND_INS["nova"], STAND_INS["cedar"]
    assert (nova.variant, nova.pitch, nova.range) == ("f3", 62, 60)
    assert (cedar.variant, cedar.pitch, cedar.range) == ("m6", 34, 60)


def test_openais_names_are_all_stood_in_for() -> None:
    assert set(MODELS) <= OPENAI_MODELS
    assert set(STAND_INS) >= OPENAI_VOICES
