"""Which of a request's headers decide its answer, and which do not: what the hot lane goes by."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

from sayonce.access.loopback import FORWARDED


class Header(Enum):
    """What a header means to the answer. One that means none of these may decide it in any way."""

    IGNORED = auto()  # no door looks at it
    CREDENTIAL = auto()  # it tells who asks
    FORWARDED = auto()  # that it is there decides, what it says does not
    LENGTH = auto()


# The host, too: an open gateway answers to its own machine's name alone.
_CREDENTIALS = (b"authorization", b"xi-api-key", b"host")
_IGNORED = (
    b"accept accept-charset accept-encoding accept-language content-type user-agent referer cookie dnt priority"
    b" traceparent tracestate baggage b3 x-request-id x-correlation-id x-amzn-trace-id x-cloud-trace-context"
    b" idempotency-key openai-organization openai-project openai-beta x-stainless-lang x-stainless-package-version"
    b" x-stainless-os x-stainless-arch x-stainless-runtime x-stainless-runtime-version x-stainless-async"
    b" x-stainless-retry-count x-stainless-read-timeout x-stainless-timeout x-stainless-raw-response"
    b" x-stainless-helper-method x-fern-language x-fern-sdk-name x-fern-sdk-version x-fern-runtime"
    b" x-fern-runtime-version x-fern-platform sec-fetch-dest sec-fetch-mode sec-fetch-site sec-fetch-user"
).split()
_MEANING = {
    **dict.fromkeys(_IGNORED, Header.IGNORED),
    **dict.fromkeys(FORWARDED, Header.FORWARDED),
    **dict.fromkeys(_CREDENTIALS, Header.CREDENTIAL),
    b"content-length": Header.LENGTH,
}


def meaning(user_header: str, token_header: str = "") -> Mapping[bytes, Header]:
    """What each header means, where `user_header` names the one that carries a message's user. The one that carries a
    token for storages means what no repeat can be held to, whatever it is called."""
    meanings = _MEANING | {user_header.lower().encode(): Header.CREDENTIAL}
    meanings.pop(token_header.lower().encode(), None)
    return meanings
