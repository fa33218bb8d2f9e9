"""Everything sayonce raises on purpose, in one tree.

    SayonceError
    ├── RequestError                  the request cannot be served as it stands
    │   ├── InvalidRequest            a field's value is wrong; `param` names the field
    │   │   ├── InvalidText           empty, not text, or not speakable
    │   │   ├── TextTooLong           more characters than the door or the upstream takes
    │   │   ├── UnknownVoice          names the nearest voices there are
    │   │   ├── UnknownModel          names the models there are
    │   │   ├── UnsupportedFormat     no such audio format, or it cannot be made
    │   │   ├── InvalidAudio          what was recorded is no whole, decodable audio
    │   │   ├── SequenceTaken         another turn took the place of this one at the same moment
    │   │   └── NoTimings             nobody knows when what is said
    │   ├── NotFound                  it is not there, or it is not for this caller: the same answer
    │   ├── NotKept                   only what is kept was wanted, and it is not
    │   ├── MethodNotAllowed          the path knows other methods
    │   ├── BodyTooLarge              the body is longer than any request of that door can be
    │   ├── CallerLeft                the caller hung up before the whole request had come
    │   ├── GatewayRefused            a client's: the gateway answered with an error
    │   └── AccessError
    │       ├── Unauthenticated       no key, or not one that is known
    │       ├── Forbidden             the key's roles do not reach that far
    │       ├── RateLimited           too many requests; `retry_after` says for how long
    │       └── BudgetSpent           the tenant's, or the emergency, spending cap is reached
    ├── ProviderError                 carries `provider`: who was to speak
    │   ├── ProviderUnavailable       unreachable, or it failed
    │   │   ├── ProviderResting       it failed too often and is left alone; `retry_after` says for how long
    │   │   └── NobodySpoke           every provider of the chain failed; tells each one's reason
    │   ├── ProviderTimeout           it did not answer in time
    │   ├── ProviderRateLimited       it asks for patience; `retry_after` says for how long
    │   ├── ProviderRefused           it says that this request is wrong
    │   ├── ProviderMisconfigured     it does not accept our key or our settings for it
    │   ├── BrokenAudio               what it sent is no whole, decodable audio
    │   └── CleaningFailed            the model that was to clean the text did not; the rules do
    ├── StorageError                  carries `backend`: where bytes were to rest
    │   ├── BlobNotFound              a definite answer: it is not there
    │   ├── StorageFull               no space, or no right to write
    │   └── StorageUnavailable        no definite answer
    │       └── StorageMisconfigured  it does not accept our credentials, or there is no such bucket
    │           └── CallerRefused     it does not accept those that the caller forwarded: no trouble of anybody else's
    ├── CatalogError                  carries `backend`: the database of what is known
    │   ├── CatalogUnavailable        locked, unreachable or damaged
    │   ├── SchemaMismatch            the database's schema is another version's
    │   └── FenceLost                 the lease passed to another holder; nothing may land
    ├── ClusterError                  carries `backend`: where replicas meet
    │   └── ClusterUnavailable        unreachable, too slow, or it has forgotten
    └── SetupError
        ├── ClientMisused             a client: without a gateway's address; or one that does not await: closed,
        │                             forked, or called where it would block
        ├── InvalidSettings           a setting is wrong
        └── MissingExtra              an optional part is not installed; names the extra

Every error says what happened, to what, and what to do about it. No message carries a spoken text or a secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class SayonceError(Exception):
    """The root. `status` and `code` are what a door answers with; `retryable` says if asking again may help."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    retryable: bool = False

    def __init__(self, message: str, *, remedy: str = "") -> None:
        self.message = message
        self.remedy = remedy
        super().__init__(f"{message} {remedy}".strip())


# ── the caller's side ────────────────────────────────────────────────────────────────────────────


class RequestError(SayonceError):
    status = 400
    code = "bad_request"


class InvalidRequest(RequestError):
    code = "invalid_value"

    def __init__(self, message: str, *, param: str | None = None, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.param = param


class InvalidText(InvalidRequest):
    code = "invalid_text"


class TextTooLong(InvalidRequest):
    code = "string_above_max_length"


class UnknownVoice(InvalidRequest):
    code = "voice_not_found"


class UnknownModel(InvalidRequest):
    status = 404
    code = "model_not_found"


class UnsupportedFormat(InvalidRequest):
    code = "unsupported_format"


class InvalidAudio(InvalidRequest):
    code = "invalid_audio"


class SequenceTaken(InvalidRequest):
    status = 409
    code = "sequence_taken"


class NoTimings(InvalidRequest):
    status = 422
    code = "no_timings"


class NotFound(RequestError):
    status = 404
    code = "not_found"


class NotKept(RequestError):
    status = 504
    code = "not_kept"


class MethodNotAllowed(RequestError):
    status = 405
    code = "method_not_allowed"


class BodyTooLarge(RequestError):
    status = 413
    code = "body_too_large"


class CallerLeft(RequestError):
    status = 499
    code = "caller_left"


class GatewayRefused(RequestError):
    """`answer_status` and `answer_code` are the gateway's own."""

    def __init__(self, message: str, *, status: int, code: str) -> None:
        super().__init__(message)
        self.answer_status = status
        self.answer_code = code


class AccessError(RequestError):
    pass


class Unauthenticated(AccessError):
    status = 401
    code = "invalid_api_key"


class Forbidden(AccessError):
    status = 403
    code = "forbidden"


class RateLimited(AccessError):
    """`retry_after` is in seconds."""

    status = 429
    code = "rate_limit_exceeded"
    retryable = True

    def __init__(self, message: str, *, retry_after: float, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after = retry_after


class BudgetSpent(AccessError):
    status = 429
    code = "insufficient_quota"


# ── those who speak ──────────────────────────────────────────────────────────────────────────────


class ProviderError(SayonceError):
    status = 502
    code = "provider_error"

    def __init__(self, message: str, *, provider: str, retryable: bool | None = None, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.provider = provider
        if retryable is not None:
            self.retryable = retryable


class ProviderUnavailable(ProviderError):
    status = 503
    code = "provider_unavailable"
    retryable = True


class ProviderResting(ProviderUnavailable):
    """`retry_after` is in seconds."""

    code = "provider_resting"

    def __init__(self, message: str, *, provider: str, retry_after: float, remedy: str = "") -> None:
        super().__init__(message, provider=provider, remedy=remedy)
        self.retry_after = retry_after


class NobodySpoke(ProviderUnavailable):
    """`reasons` are the errors of the chain's providers, in its order."""

    code = "no_provider_available"

    def __init__(self, reasons: Sequence[ProviderError]) -> None:
        super().__init__(
            "No provider could speak. " + " ".join(reason.message for reason in reasons),
            provider=",".join(reason.provider for reason in reasons),
            retryable=any(reason.retryable for reason in reasons),
            remedy="Try again in a moment." if any(reason.retryable for reason in reasons) else reasons[0].remedy,
        )
        self.reasons = tuple(reasons)


class ProviderTimeout(ProviderError):
    status = 504
    code = "provider_timeout"
    retryable = True


class ProviderRateLimited(ProviderError):
    """`retry_after` is in seconds, or None where the provider did not say."""

    status = 429
    code = "provider_rate_limited"
    retryable = True

    def __init__(self, message: str, *, provider: str, retry_after: float | None, remedy: str = "") -> None:
        super().__init__(message, provider=provider, remedy=remedy)
        self.retry_after = retry_after


class ProviderRefused(ProviderError):
    status = 400
    code = "provider_refused"


class ProviderMisconfigured(ProviderError):
    code = "provider_misconfigured"


class BrokenAudio(ProviderError):
    code = "broken_audio"
    retryable = True


class CleaningFailed(ProviderError):
    code = "cleaning_failed"


# ── where bytes rest ─────────────────────────────────────────────────────────────────────────────


class StorageError(SayonceError):
    status = 503
    code = "storage_error"

    def __init__(self, message: str, *, backend: str, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.backend = backend


class BlobNotFound(StorageError):
    code = "blob_not_found"


class StorageFull(StorageError):
    code = "storage_full"


class StorageUnavailable(StorageError):
    code = "storage_unavailable"
    retryable = True


class StorageMisconfigured(StorageUnavailable):
    code = "storage_misconfigured"
    retryable = False


class CallerRefused(StorageMisconfigured):
    status = 403
    code = "storage_caller_refused"


# ── what is known ────────────────────────────────────────────────────────────────────────────────


class CatalogError(SayonceError):
    status = 503
    code = "catalog_error"

    def __init__(self, message: str, *, backend: str, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.backend = backend


class CatalogUnavailable(CatalogError):
    code = "catalog_unavailable"
    retryable = True


class SchemaMismatch(CatalogError):
    code = "schema_mismatch"


class FenceLost(CatalogError):
    code = "fence_lost"


class ClusterError(SayonceError):
    status = 503
    code = "cluster_error"

    def __init__(self, message: str, *, backend: str, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.backend = backend


class ClusterUnavailable(ClusterError):
    code = "cluster_unavailable"
    retryable = True


# ── setting up ───────────────────────────────────────────────────────────────────────────────────


class SetupError(SayonceError):
    code = "setup_error"


class ClientMisused(SetupError):
    code = "client_misused"


class InvalidSettings(SetupError):
    code = "invalid_settings"


class MissingExtra(SetupError):
    """An optional part was asked for and its package is not installed."""

    status = 503
    code = "missing_extra"

    def __init__(self, part: str, *, extra: str) -> None:
        super().__init__(
            f"{part} needs the extra '{extra}', which is not installed.",
            remedy=f"Install it: pip install 'sayonce[{extra}]'",
        )
        self.extra = extra
