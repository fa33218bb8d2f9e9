"""How a failed flight tells those who waited for it on other machines."""

from __future__ import annotations

import json

from sayonce.errors import (
    BrokenAudio,
    CleaningFailed,
    ProviderError,
    ProviderMisconfigured,
    ProviderRateLimited,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnavailable,
)

_KINDS: dict[str, type[ProviderError]] = {
    kind.__name__: kind
    for kind in (
        ProviderUnavailable,
        ProviderTimeout,
        ProviderRefused,
        ProviderMisconfigured,
        BrokenAudio,
        CleaningFailed,
    )
}


def written(failure: ProviderError) -> str:
    """The failure as a lease carries it."""
    return json.dumps(
        {
            "kind": type(failure).__name__,
            "message": failure.message,
            "remedy": failure.remedy,
            "provider": failure.provider,
            "retryable": failure.retryable,
            "retry_after": getattr(failure, "retry_after", None),
        }
    )


def read(failure: str) -> ProviderError:
    """The failure that a lease carried."""
    told = json.loads(failure)
    message, provider, remedy = told["message"], told["provider"], told["remedy"]
    if told["kind"] == ProviderRateLimited.__name__:
        return ProviderRateLimited(message, provider=provider, retry_after=told["retry_after"], remedy=remedy)
    kind = _KINDS.get(told["kind"], ProviderError)
    return kind(message, provider=provider, retryable=told["retryable"], remedy=remedy)
