"""Signed addresses in Google's cloud for another host than Google's own: its V4 signing process, by a service
account's key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from sayonce.errors import MissingExtra

try:
    from google.auth.crypt import RSASigner
except ImportError as error:
    raise MissingExtra("Signing for another host than Google's", extra="lifecycle") from error

_ALGORITHM = "GOOG4-RSA-SHA256"


class Signer:
    """Signs as the service account that its file tells of. ValueError where the key in it is none."""

    def __init__(self, account: Mapping[str, Any]) -> None:
        self._email = account["client_email"]
        self._key = RSASigner.from_service_account_info(account)  # type: ignore[no-untyped-call]

    def signed(self, address: str, lasting: timedelta) -> str:
        """The address, escaped already, for whoever has it, for so long."""
        now = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        scope = f"{now[:8]}/auto/storage/goog4_request"
        query = urlencode(
            {
                "X-Goog-Algorithm": _ALGORITHM,
                "X-Goog-Credential": f"{self._email}/{scope}",
                "X-Goog-Date": now,
                "X-Goog-Expires": int(lasting.total_seconds()),
                "X-Goog-SignedHeaders": "host",
            },
            quote_via=quote,
            safe="",
        )
        parts = urlsplit(address)
        request = f"GET\n{parts.path}\n{query}\nhost:{parts.netloc}\n\nhost\nUNSIGNED-PAYLOAD"
        digest = hashlib.sha256(request.encode()).hexdigest()
        signature = self._key.sign(f"{_ALGORITHM}\n{now}\n{scope}\n{digest}").hex()
        return f"{address}?{query}&X-Goog-Signature={signature}"
