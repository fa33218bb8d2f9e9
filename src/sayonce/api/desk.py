"""What every door does first: who asks, how they steer the cache, what they sent."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope

from sayonce.access.callers import Caller, Role
from sayonce.access.gate import Gate
from sayonce.access.limits import RateLimits
from sayonce.access.loopback import refuse_strangers
from sayonce.app import Gateway
from sayonce.cache.cast import Cast, Cleaning
from sayonce.cache.orders import Retention, Steering
from sayonce.errors import BodyTooLarge, CallerLeft, InvalidRequest
from sayonce.speech.requests import Owner, SpeechRequest
from sayonce.speech.requests import Scope as Sharing
from sayonce.units import retention

_LONGEST_NAME = 200
_TRUE, _FALSE = frozenset(("true", "t", "1", "yes", "y", "on")), frozenset(("false", "f", "0", "no", "n", "off"))
# Cleaning as many characters takes a few milliseconds.
_LONG = 2_000


@dataclass(frozen=True, slots=True)
class Visit:
    """A request as its headers tell it, by a caller who may speak. Header names are lower-case."""

    caller: Caller
    headers: Mapping[bytes, bytes]
    steering: Steering

    def header(self, name: str) -> str | None:
        """A header's value; None where it is absent or empty. InvalidRequest where it is not UTF-8."""
        raw = self.headers.get(name.encode())
        if not raw:
            return None
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"The header {name} is not UTF-8.", param=name) from error

    def chain(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """Who is to speak, in whose place: from the body, else the header, else as the tenant has it; empty where
        none of them says."""
        told = tuple(names or ()) or _parts(self.header("x-sayonce-chain"))
        return told or self.caller.tenant.chain

    def variation(self, field: int | None) -> int:
        """Which take of the text: from the body, else the header, else the first."""
        told = self.header("x-sayonce-variation")
        if field is not None or told is None:
            return field or 0
        if not (told.isascii() and told.isdecimal() and len(told) < 7):
            raise InvalidRequest("The header X-Sayonce-Variation is no whole number.", param="variation")
        return int(told)

    def cleaning(self, told: Cleaning | None, usual: Cleaning = Cleaning.OFF) -> Cleaning:
        """How the text is to be cleaned: from the body, else the header, else as is usual at that door."""
        header = self.header("x-sayonce-cleaning")
        try:
            return told or (Cleaning(header) if header else usual)
        except ValueError as error:
            raise InvalidRequest(
                "There is no such way of cleaning.", param="cleaning", remedy=f"Use one of: {', '.join(Cleaning)}."
            ) from error

    def owner(self, scope: str | None, user: str | None, session: str | None) -> Owner:
        """For whom it is said: from the body's fields, or else from the headers. Forbidden where the key may not
        share with others."""
        wanted = scope or self.header("x-sayonce-scope")
        try:
            sharing = Sharing(wanted) if wanted else Sharing.TENANT
        except ValueError as error:
            raise InvalidRequest(
                "There is no such scope.", param="scope", remedy=f"Use one of: {', '.join(Sharing)}."
            ) from error
        if sharing is Sharing.SHARED:
            self.caller.demand(Role.SHARE)
        return Owner(
            self.caller.tenant.id,
            sharing,
            named("user", user or self.header("x-sayonce-user")),
            named("session", session or self.header("x-sayonce-session")),
        )


class Desk:
    """Receives visits. Known keys are recognised, and plain requests read, without waiting."""

    def __init__(self, gateway: Gateway) -> None:
        self.gate: Gate = gateway.gate
        self._limits: RateLimits = gateway.limits
        self._origins = gateway.settings.cors_origins
        self._usual = Steering(no_store=not gateway.settings.caching)

    async def receive(self, scope: Scope, role: Role = Role.SPEAK) -> Visit:
        """The visit of a request. Errors: Unauthenticated, Forbidden, RateLimited, CatalogUnavailable."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        key = _key(headers)
        caller = self.gate.recognise(key) or await self.gate.admit(key)
        self._demand(caller, scope, role)
        self._limits.take(caller.tenant)
        return Visit(caller, headers, self._steering(headers))

    def _steering(self, headers: Mapping[bytes, bytes]) -> Steering:
        wanted, keep = headers.get(b"cache-control"), headers.get(b"x-sayonce-keep")
        told = self._usual if wanted is None else steering(wanted, self._usual)
        return told if keep is None else replace(told, keep=_retention(keep))

    async def admit(self, scope: Scope, headers: Mapping[bytes, bytes], role: Role) -> Caller:
        """Who asks, without counting it as a request. Errors: Unauthenticated, Forbidden, CatalogUnavailable."""
        caller = await self.gate.admit(_key(headers))
        self._demand(caller, scope, role)
        return caller

    def _demand(self, caller: Caller, scope: Scope, role: Role) -> None:
        if caller.key_id is None:
            refuse_strangers(scope["headers"], self._origins)
        caller.demand(role)


async def cleaned(cast: Cast, request: SpeechRequest, how: Cleaning) -> SpeechRequest:
    """The request as it is to be cleaned; long texts are, off the event loop."""
    if how is Cleaning.OFF or len(request.text) < _LONG:
        return cast.cleaned(request, how)
    return await asyncio.to_thread(cast.cleaned, request, how)


def steering(cache_control: bytes, usual: Steering) -> Steering:
    """What a request's Cache-Control asks for beside what is usual; words that are not ours mean nothing."""
    words = {word.strip().lower() for word in cache_control.decode("latin-1").split(",")}
    return Steering(
        no_store=usual.no_store or "no-store" in words,
        no_cache="no-cache" in words,
        only_if_cached="only-if-cached" in words,
    )


def _retention(told: bytes) -> Retention:
    try:
        return Retention(*retention(told.decode("ascii")))
    except ValueError as error:
        raise InvalidRequest(
            "The header X-Sayonce-Keep cannot be read.",
            param="keep",
            remedy="Send 'forever', '30d', '12h' or '5m', and 'sliding' after it to count from the last use.",
        ) from error


def query_of(scope: Scope) -> dict[str, str]:
    """The query's parameters, of each the last. InvalidRequest where it is no UTF-8, or has too many."""
    try:
        pairs = parse_qsl(
            scope["query_string"].decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=50
        )
    except ValueError as error:
        raise InvalidRequest("The query cannot be read.", param="query", remedy="Send plain parameters.") from error
    return dict(pairs)


def flag(query: Mapping[str, str], name: str, usual: bool) -> bool:
    """A parameter that is true or false, in any of the words that vendors' APIs take for it."""
    told = query.get(name, "").lower()
    if told in _TRUE or told in _FALSE or not told:
        return told in _TRUE if told else usual
    raise InvalidRequest(f"'{name}' is neither true nor false.", param=name, remedy="Send 'true' or 'false'.")


async def read_body(
    receive: Receive, headers: Mapping[bytes, bytes], most: int, remedy: str = "Send a shorter text."
) -> bytes:
    """The request's body. BodyTooLarge, with that remedy, as soon as it is known to be longer than `most` bytes."""
    told = headers.get(b"content-length", b"")
    if told.isdigit() and (len(told) > 12 or int(told) > most):
        raise _too_large(most, remedy)
    message = await receive()
    if not message.get("more_body", False):
        whole: bytes = message.get("body", b"")
        if len(whole) > most:
            raise _too_large(most, remedy)
        return whole
    body = bytearray(message.get("body", b""))
    while message.get("more_body", False):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise CallerLeft("The caller hung up.")
        body += message.get("body", b"")
        if len(body) > most:
            raise _too_large(most, remedy)
    return bytes(body)


def _key(headers: Mapping[bytes, bytes]) -> str | None:
    """The key, as OpenAI's clients send it, or as ElevenLabs' and Deepgram's do."""
    raw = headers.get(b"authorization")
    if raw is None:
        own = headers.get(b"xi-api-key")
        return None if own is None else own.decode("latin-1").strip()
    scheme, _, key = raw.decode("latin-1").partition(" ")
    return key.strip() if scheme.lower() in ("bearer", "token") else None


def _parts(header: str | None) -> tuple[str, ...]:
    return () if header is None else tuple(part.strip() for part in header.split(",") if part.strip())


def named(field: str, value: str | None) -> str | None:
    """A name that a caller gave, where it can be one; InvalidRequest where not."""
    if value is not None and (len(value) > _LONGEST_NAME or not value.isprintable()):
        raise InvalidRequest(
            f"'{field}' is no usable name.", param=field, remedy="Use up to 200 printable characters."
        )
    return value


def _too_large(most: int, remedy: str) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {most} bytes.", remedy=remedy)
