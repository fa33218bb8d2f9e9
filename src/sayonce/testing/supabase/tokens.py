"""Signed tokens (JWT, HS256), as far as a fake that verifies them needs."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any


def token(claims: Mapping[str, Any], secret: bytes) -> str:
    """The claims, signed."""
    parts = ({"alg": "HS256", "typ": "JWT"}, dict(claims))
    signed = ".".join(_packed(json.dumps(part).encode()) for part in parts)
    return f"{signed}.{_signature(signed, secret)}"


def claims_of(token: str, secret: bytes, now: float) -> Mapping[str, Any]:
    """What a token claims. ValueError where it was not signed with this secret, or is over; the words are those that
    Supabase's server says."""
    signed, _, signature = token.rpartition(".")
    if signed.count(".") != 1:
        raise ValueError("Invalid Compact JWS")
    if not hmac.compare_digest(signature.encode(), _signature(signed, secret).encode()):
        raise ValueError("signature verification failed")
    middle = signed.partition(".")[2]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    if claims.get("exp", now + 1) <= now:
        raise ValueError('"exp" claim timestamp check failed')
    return claims


def _packed(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def _signature(signed: str, secret: bytes) -> str:
    return _packed(hmac.digest(secret, signed.encode(), hashlib.sha256))
