"""Which of a request's headers decide its answer, and which do not: what the hot lane goes by."""

from __future__ import annotations

from sayonce.access.loopback import FORWARDED

__all__ = ["CREDENTIALS", "FORWARDED", "IGNORED"]

#: Who asks; the host, too, since an open gateway answers to its own machine's name alone.
CREDENTIALS = frozenset((b"authorization", b"xi-api-key", b"host"))

#: What no door looks at. A header that is not here is looked at, or may be.
IGNORED = frozenset(
    b"accept accept-charset accept-encoding accept-language content-type user-agent referer cookie dnt priority"
    b" traceparent tracestate baggage b3 x-request-id x-correlation-id x-amzn-trace-id x-cloud-trace-context"
    b" idempotency-key openai-organization openai-project openai-beta x-stainless-lang x-stainless-package-version"
    b" x-stainless-os x-stainless-arch x-stainless-runtime x-stainless-runtime-version x-stainless-async"
    b" x-stainless-retry-count x-stainless-read-timeout x-stainless-timeout x-stainless-raw-response"
    b" x-stainless-helper-method x-fern-language x-fern-sdk-name x-fern-sdk-version x-fern-runtime"
    b" x-fern-runtime-version x-fern-platform sec-fetch-dest sec-fetch-mode sec-fetch-site sec-fetch-user".split()
)
