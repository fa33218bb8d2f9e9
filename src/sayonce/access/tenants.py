"""What may be said of a tenant, at whichever door."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sayonce.catalog.records import Tenant
from sayonce.errors import InvalidRequest
from sayonce.speech.normaliser import normalise
from sayonce.speech.voices import VoiceSettings

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def refuse_nameless(tenant: str) -> None:
    """InvalidRequest where a tenant cannot be called so."""
    if not _NAME.fullmatch(tenant):
        raise InvalidRequest(
            "That is no name for a tenant.", remedy="Use up to 80 letters, digits, '.', '_' and '-'."
        )


def altered(tenant: Tenant, told: Mapping[str, Any]) -> Tenant:
    """The tenant with what is told of it; None is as usual again, in the voice, too, and an empty greeting is none.
    InvalidRequest, naming the field, where the greeting or a field of the voice is wrong."""
    given = dict(told)
    for name, nothing in (("public", False), ("disabled", False), ("chain", ())):
        if name in given:
            given[name] = given[name] or nothing
    if "chain" in given:
        given["chain"] = tuple(given["chain"])
    if "voice" in given:
        given["voice"] = VoiceSettings() if given["voice"] is None else tenant.voice.changed(given["voice"])
    if "greeting" in given:
        given["greeting"] = _greeting(given["greeting"])
    return replace(tenant, **given)


def _greeting(text: str | None) -> str | None:
    if text is None or not text.strip():
        return None
    normalise(text)  # which refuses what nobody can speak
    return text.strip()
