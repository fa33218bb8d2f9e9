"""Where a repeat may be asked for: the targets that the hot lane looks at."""

from __future__ import annotations

from collections.abc import Mapping

#: The doors by their exact target.
DOORS: Mapping[bytes, str] = {
    b"/v1/audio/speech": "openai",
    b"/v1/speak": "deepgram",
    b"/api/tts/speak": "message",
}

_BEGINNINGS = {target + b"?": door for target, door in DOORS.items()}
_BEGINNINGS |= {b"/v1/text-to-speech/": "elevenlabs", b"/audio/": "audio"}
_ALL_BEGINNINGS = tuple(_BEGINNINGS)
_LONGEST = 1_024  # in bytes


def door_of(target: bytes) -> str | None:
    """The door that such a target leads to; None where nothing is repeated."""
    if not target.startswith(_ALL_BEGINNINGS) or len(target) > _LONGEST:
        return None
    return next(door for beginning, door in _BEGINNINGS.items() if target.startswith(beginning))
