"""What is asked for: a text and how to say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sayonce.speech.canonical import Json
from sayonce.speech.formats import MP3, AudioFormat


class Scope(StrEnum):
    """Who may share what was made: every tenant, one tenant, one user of it, or one session."""

    SHARED = "shared"
    TENANT = "tenant"
    USER = "user"
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class Owner:
    """For whom it is said, and so who may have it again. User and session are names within the tenant."""

    tenant: str = "default"
    scope: Scope = Scope.TENANT
    user: str | None = None
    session: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechRequest:
    """A text and how to say it, as a caller put it: what was left open stays None until the upstream is known.

    `upstream` is an upstream's configured name. `speed` is a factor, `pitch` in semitones. `options` are the
    vendor's further ones that alter the sound. `variation` tells several takes of one text apart.
    """

    text: str
    upstream: str | None = None
    model: str | None = None
    voice: str | None = None
    language: str | None = None
    speed: float = 1.0
    pitch: float = 0.0
    style: str | None = None
    instructions: str | None = None
    options: Mapping[str, Json] = field(default_factory=dict)
    variation: int = 0
    #: Who cleaned the text, or is to clean it, by name and version; None where nobody.
    cleaner: str | None = None
    owner: Owner = Owner()
    format: AudioFormat = MP3
    #: Whether only an upstream may speak that keeps nothing of what it is sent, and learns nothing from it.
    discreet: bool = False


@dataclass(frozen=True, slots=True)
class Upstream:
    """One configured instance of a provider, as recipes see it.

    `identity` is what makes its voice its own: another identity is another recipe. `name` is how settings and
    callers call it. The defaults are filled in where a request leaves them open; a default that lives at the
    vendor stays None.
    """

    name: str
    identity: str
    model: str | None = None
    voice: str | None = None
    language: str | None = None
