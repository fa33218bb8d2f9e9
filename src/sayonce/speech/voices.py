"""How a business speaks: one record for its greeting and its calls."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace

from sayonce.errors import InvalidRequest
from sayonce.speech.canonical import Json
from sayonce.speech.dialects import ELEVENLABS
from sayonce.speech.formats import BY_NAME, TELEPHONE
from sayonce.speech.requests import Owner, SpeechRequest

_FORMATS = {**BY_NAME, **TELEPHONE, **ELEVENLABS}
_LONGEST_NAME, _LONGEST_WORDS = 200, 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceSettings:
    """What is not told is as the gateway's settings have it. `format` is a public name: `mp3`, `ulaw`, `wav_8000`."""

    provider: str | None = None
    model: str | None = None
    voice: str | None = None
    language: str | None = None
    speed: float = 1.0
    pitch: float = 0.0
    style: str | None = None
    instructions: str | None = None
    options: Mapping[str, Json] = field(default_factory=dict, hash=False)
    format: str = "mp3"

    def changed(self, told: Mapping[str, object]) -> VoiceSettings:
        """The same with what is told; None is as usual again. Another provider takes over neither voice, model nor
        options. InvalidRequest, naming the field, where one is wrong or there is none such."""
        told = dict(told)
        if "upstream" in told:
            told.setdefault("provider", told.pop("upstream"))
        for name, value in told.items():
            if name not in _CHECKS:
                raise InvalidRequest(
                    "A voice has no such field.", param=name[:100], remedy=f"It has: {', '.join(_CHECKS)}."
                )
            if value is not None and (objection := _CHECKS[name](value)) is not None:
                raise InvalidRequest(
                    f"The field '{name}' is wrong: it must be {objection}.", param=name, remedy="Mend it."
                )
        moved = "provider" in told and told["provider"] != self.provider
        foreign = dict.fromkeys(("model", "voice", "options")) if moved else {}
        return self._with({**foreign, **told})

    def told(self) -> dict[str, Json]:
        """What is not as usual: `VoiceSettings().changed` makes the same of it."""
        return {name: value for name, value in asdict(self).items() if value != _USUAL[name]}

    def dumped(self) -> str | None:
        """It as the catalog keeps it; None where all is as usual."""
        told = self.told()
        return json.dumps(told, ensure_ascii=False, sort_keys=True) if told else None

    @classmethod
    def loaded(cls, kept: str | None) -> VoiceSettings:
        """What `dumped` gave."""
        return cls() if kept is None else cls(**json.loads(kept))

    def request(self, text: str, owner: Owner) -> SpeechRequest:
        """A text in this voice, for its owner."""
        return SpeechRequest(
            text=text,
            upstream=self.provider,
            model=self.model,
            voice=self.voice,
            language=self.language,
            speed=self.speed,
            pitch=self.pitch,
            style=self.style,
            instructions=self.instructions,
            options=self.options,
            owner=owner,
            format=_FORMATS[self.format],
        )

    def _with(self, told: Mapping[str, object]) -> VoiceSettings:
        given: dict[str, object] = {name: _USUAL[name] if told[name] is None else told[name] for name in told}
        return replace(self, **given)  # type: ignore[arg-type]


_USUAL = asdict(VoiceSettings())


def _name(value: object) -> str | None:
    right = isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME and value.isprintable()
    return None if right else f"a name of up to {_LONGEST_NAME} printable characters"


def _words(value: object) -> str | None:
    right = isinstance(value, str) and len(value) <= _LONGEST_WORDS and "\x00" not in value
    return None if right else f"a text of up to {_LONGEST_WORDS} characters"


def _number(value: object) -> str | None:
    right = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return None if right else "a number"


def _speed(value: object) -> str | None:
    return _number(value) or (None if float(str(value)) > 0 else "a number above 0")


def _options(value: object) -> str | None:
    return None if isinstance(value, dict) else "an object"


def _format(value: object) -> str | None:
    return None if isinstance(value, str) and value in _FORMATS else f"one of {', '.join(_FORMATS)}"


_CHECKS: Mapping[str, Callable[[object], str | None]] = {
    **dict.fromkeys(("provider", "model", "voice", "language"), _name),
    "speed": _speed,
    "pitch": _number,
    **dict.fromkeys(("style", "instructions"), _words),
    "options": _options,
    "format": _format,
}
