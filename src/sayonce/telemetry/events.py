"""One structured event a generation, with the fields that operators already have dashboards for."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import asdict, dataclass

from sayonce.telemetry.logs import get_logger

_log = get_logger("sayonce")


class TextNames:
    """Names a text in logs, so that two lines on one text can be told to be so, and nobody learns the text."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def name(self, text: str) -> str:
        """The first 16 hex digits of a keyed hash."""
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What became of one generation. `business_id` is the tenant, times are in milliseconds, `error` is a code,
    `cost` is in USD and None where no price is known."""

    business_id: str
    provider: str
    model: str | None
    voice_id: str | None
    text_hash: str
    characters: int
    content_hash: str
    outcome: str
    cached: bool
    latency_ms: float
    first_byte_ms: float | None
    storage_upload_ms: float | None
    signed_url_ms: float | None = None
    success: bool
    error: str | None = None
    cost_micros: int | None = None


def emit(generation: Generation) -> None:
    """Writes the event `tts.synthesize`; its timestamp is the log's."""
    write = _log.info if generation.success else _log.warning
    write("tts.synthesize", **asdict(generation))
