"""Signed URLs: whoever has one may fetch that audio, until it expires."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

from sayonce.speech import canonical

# Seconds since 1970 have ten digits until the year 2286.
_LONGEST_EXPIRY = 12


class UrlSigner:
    """Signs with `secret`. `clock` gives seconds since 1970."""

    def __init__(self, secret: str, clock: Callable[[], float]) -> None:
        self._secret = secret.encode()
        self._clock = clock

    def sign(self, path: str, version: str, life: float) -> str:
        """The query that lets `path` be fetched for `life` seconds, in the version that `version` names."""
        expires = str(int(self._clock() + life))
        return f"v={version}&exp={expires}&sig={self._signature(path, version, expires)}"

    def accepts(self, path: str, version: str, expires: str, signature: str) -> bool:
        """Whether that signature is ours, for this path, version and expiry, which is to come yet."""
        if not (expires.isascii() and expires.isdecimal() and len(expires) <= _LONGEST_EXPIRY):
            return False
        if not signature.isascii() or not path.isprintable() or not version.isalnum():
            return False
        right = hmac.compare_digest(signature, self._signature(path, version, expires))
        return right and int(expires) > self._clock()

    def remaining(self, expires: str) -> float:
        """For how many seconds an accepted URL is still good."""
        return max(int(expires) - self._clock(), 0.0)

    def _signature(self, path: str, version: str, expires: str) -> str:
        signed = canonical.fields({"path": path, "v": version, "exp": expires})
        return hmac.new(self._secret, signed, hashlib.sha256).hexdigest()
