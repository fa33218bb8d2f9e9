"""The archive of conversations: `/api/sessions`. Each turn's audio is kept under its session and date: what the
gateway says, and what was recorded elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from fastapi import FastAPI
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Receive, Scope

from sayonce.api import answers
from sayonce.api.bodies import Name, VoiceBody, parse, parse_query
from sayonce.api.costs import money
from sayonce.api.desk import Desk, Visit, cleaned, query_of, read_body
from sayonce.api.door import Door, hang
from sayonce.api.links import Links
from sayonce.api.voice import headers_of, request_of
from sayonce.app import Gateway
from sayonce.audio.check import recognise
from sayonce.audio.formats import any_format_of, extension
from sayonce.cache.archive import Turn
from sayonce.cache.orders import Outcome, Retention
from sayonce.catalog import sessions as archived
from sayonce.catalog.records import Session
from sayonce.errors import InvalidRequest, NotFound
from sayonce.speech.formats import AAC, FLAC, MP3, OPUS, WAV, AudioFormat
from sayonce.speech.requests import Owner
from sayonce.speech.requests import Scope as Sharing

_MOST_BYTES_A_CHARACTER = 12  # a surrogate pair, escaped
_LONGEST_NAME = 200
_MOST = 1_000_000_000
_Sequence = Annotated[int, Field(ge=0, le=_MOST)]
# What tells its format itself. A tag may stand before an MP3 as well as before AAC, and mostly does before an MP3.
_TOLD = (OPUS, FLAC, WAV, MP3, AAC)


class TurnBody(VoiceBody):
    """A turn that is to be said: as `POST /api/voice`, and which turn of the session it is."""

    speaker: Name | None = None
    sequence: Annotated[_Sequence | None, Field(strict=True)] = None
    at: AwareDatetime | None = None


class _Whose(BaseModel):
    """Whose session is meant, as a query says it."""

    model_config = ConfigDict(extra="forbid")

    scope: str | None = None
    user: Name | None = None


class RecordedTurn(_Whose):
    """A turn that was recorded elsewhere, whose audio is the body."""

    speaker: Name | None = None
    sequence: _Sequence | None = None
    at: AwareDatetime | None = None
    format: str | None = None


class TurnsPage(_Whose):
    """Which turns are wanted: those after a sequence, at most so many."""

    after: Annotated[int, Field(ge=-1, le=_MOST)] = -1
    limit: Annotated[int, Field(ge=1, le=500)] = 100


class SessionsPage(_Whose):
    """Which sessions are wanted: those after what `next` said, at most so many."""

    after: Annotated[str, Field(pattern=r"^\d{1,12}(\.\d{1,9})?-\d{1,18}$")] | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class TurnDoor(Door):
    """`POST /api/sessions/{session}/turns`: a text to say, or what was recorded."""

    words: ClassVar[Mapping[str, str]] = {"input": "text", "response_format": "format", "upstream": "provider"}

    def __init__(self, gateway: Gateway, desk: Desk) -> None:
        super().__init__(gateway)
        self._desk = desk
        self._longest = gateway.settings.max_text

    async def answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        visit, name = await self._desk.receive(scope), _name(scope)
        if visit.steering.no_store:
            raise InvalidRequest(
                "A turn is kept, and nothing is to be kept.",
                param="cache-control",
                remedy="Leave no-store out; or is the setting `caching` off?",
            )
        if _kind(visit).startswith(b"audio/"):
            return await self._record(scope, receive, visit, name)
        return await self._say(scope, receive, visit, name)

    async def _say(self, scope: Scope, receive: Receive, visit: Visit, name: str) -> ASGIApp:
        most = self._longest * _MOST_BYTES_A_CHARACTER + 65_536
        data = await read_body(receive, visit.headers, most)
        if b"json" not in _kind(visit) and not data.lstrip().startswith(b"{"):
            raise InvalidRequest(
                "The body is no JSON object, and is not said to be audio.",
                param="content-type",
                remedy="Send Content-Type: application/json with a text, or audio/… with what was recorded.",
            )
        body = parse(TurnBody, data)
        if body.session not in (None, name):
            raise InvalidRequest(
                "The body names another session than the path.", param="session", remedy="Leave it out of the body."
            )
        if "format" not in body.model_fields_set:
            body = body.model_copy(update={"format": self.gateway.settings.turn_format})
        request, cast = request_of(body, visit, self._longest), self.gateway.cast
        request = replace(request, owner=_owned(request.owner, name))
        request = await cleaned(cast, request, visit.cleaning(body.cleaning))
        chain = cast.chain(request, visit.steering, visit.chain(body.chain))
        turn = self._turn(body, visit, request.owner)
        answer, kept = await self.gateway.archive.say(chain, turn)
        spoken = answer.outcome in (Outcome.MISS, Outcome.BYPASS)
        told = {
            **await self._told(scope, visit, turn, kept),
            "cached": not spoken,
            "outcome": answer.outcome,
            **money(kept.asset.cost, self.gateway.settings.currency, spoken=spoken),
        }
        return answers.as_json(told, headers=headers_of(answer, kept.asset))

    async def _record(self, scope: Scope, receive: Receive, visit: Visit, name: str) -> ASGIApp:
        asked = parse_query(RecordedTurn, query_of(scope))
        owner = _owned(visit.owner(asked.scope, asked.user, None), name)
        most = self.gateway.settings.max_audio
        data = await read_body(receive, visit.headers, most, "Send a shorter recording, or raise SAYONCE_MAX_AUDIO.")
        audio_format = _recognised(data) if asked.format is None else any_format_of(asked.format)
        turn = self._turn(asked, visit, owner)
        default = any_format_of(self.gateway.settings.turn_format)
        kept = await self.gateway.archive.record(data, audio_format or default, owner, turn)
        return answers.as_json(await self._told(scope, visit, turn, kept))

    def _turn(self, asked: TurnBody | RecordedTurn, visit: Visit, owner: Owner) -> Turn:
        at = round(time.time() if asked.at is None else asked.at.timestamp(), 6)
        if at < 0:
            raise InvalidRequest("No turn was before 1970.", param="at", remedy="Send seconds, or a date and time.")
        keep = visit.steering.keep or Retention(self.gateway.settings.turn_keep)
        if keep.seconds == 0:
            raise InvalidRequest(
                "A turn is kept, and is to be kept for no time.", param="x-sayonce-keep", remedy="Send '1d', say."
            )
        return Turn(_session_of(owner), at, asked.speaker, asked.sequence, keep)

    async def _told(self, scope: Scope, visit: Visit, turn: Turn, kept: archived.Turn) -> dict[str, Any]:
        url = await Links(self.gateway, scope).of(kept.asset, visit.caller.tenant)
        return {"session": turn.session.name, **_row(kept, url)}


class SessionDoor(Door):
    """`GET` and `DELETE /api/sessions/{session}`: its turns in order, and its end."""

    def __init__(self, gateway: Gateway, desk: Desk) -> None:
        super().__init__(gateway)
        self._desk = desk

    async def answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        visit, name = await self._desk.receive(scope), _name(scope)
        if scope["method"] == "DELETE":
            return await self._end(visit, name, parse_query(_Whose, query_of(scope)))
        page = parse_query(TurnsPage, query_of(scope))
        session = _session_of(_owned(visit.owner(page.scope, page.user, None), name))
        found = await self.gateway.catalog.conversation(session, page.after, page.limit + 1)
        if found is None:
            raise _not_there()
        totals, turns = found
        shown, links = turns[: page.limit], Links(self.gateway, scope)
        urls = await asyncio.gather(*(links.of(turn.asset, visit.caller.tenant) for turn in shown))
        told = {
            **_names(session),
            "totals": _totals(totals),
            "turns": [_row(turn, url) for turn, url in zip(shown, urls, strict=True)],
            "next": shown[-1].sequence if len(turns) > page.limit else None,
        }
        return answers.as_json(told)

    async def _end(self, visit: Visit, name: str, whose: _Whose) -> ASGIApp:
        session = _session_of(_owned(visit.owner(whose.scope, whose.user, None), name))
        turns = await self.gateway.archive.end(session)
        if not turns:
            raise _not_there()
        return answers.as_json({"deleted": True, **_names(session), "turns": turns})


class SessionsDoor(Door):
    """`GET /api/sessions`: the sessions of a tenant, or of one of its users, the latest first."""

    def __init__(self, gateway: Gateway, desk: Desk) -> None:
        super().__init__(gateway)
        self._desk = desk

    async def answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        visit = await self._desk.receive(scope)
        page = parse_query(SessionsPage, query_of(scope))
        owner = _session_of(_owned(visit.owner(page.scope, page.user, None), ""))
        found = await self.gateway.catalog.sessions_of(owner, _place(page.after), page.limit + 1)
        shown = found[: page.limit]
        told = {
            "sessions": [{**_names(each.session), **_totals(each.totals)} for each in shown],
            "next": f"{shown[-1].last_at:.6f}-{shown[-1].id}" if len(found) > page.limit else None,
        }
        return answers.as_json(told)


def _name(scope: Scope) -> str:
    """The session's name in the path: any text."""
    name: str = scope["path_params"]["session"]
    if not name or len(name) > _LONGEST_NAME or any(char < " " or char == "\x7f" for char in name):
        raise InvalidRequest(
            "That is no usable name of a session.",
            param="session",
            remedy=f"Use up to {_LONGEST_NAME} characters, none of them a control character.",
        )
    return name


def _owned(owner: Owner, session: str) -> Owner:
    """Whose the turns of that session are. InvalidRequest where it is to be a user's, and nobody says whose."""
    if owner.scope is Sharing.USER and not owner.user:
        raise InvalidRequest(
            "Scope 'user' needs to know the user.", param="user", remedy="Send 'user', or the header X-Sayonce-User."
        )
    return replace(owner, session=session)


def _session_of(owner: Owner) -> Session:
    return Session(owner.tenant, owner.session or "", owner.user if owner.scope is Sharing.USER else None)


def _kind(visit: Visit) -> bytes:
    """What the body is said to be."""
    return visit.headers.get(b"content-type", b"").lower()


def _recognised(data: bytes) -> AudioFormat | None:
    return next((fmt for fmt in _TOLD if recognise(data[:64], fmt)), None)


def _place(after: str | None) -> tuple[float, int] | None:
    """Where a list of sessions goes on."""
    if after is None:
        return None
    at, _, row_id = after.partition("-")
    return float(at), int(row_id)


def _names(session: Session) -> dict[str, Any]:
    return {"session": session.name} | ({} if session.user is None else {"user": session.user})


def _totals(totals: archived.Totals) -> dict[str, Any]:
    return {
        "turns": totals.turns,
        "duration": round(totals.duration, 3),
        "size": totals.size,
        "began_at": totals.began_at,
        "last_at": totals.last_at,
    }


def _row(turn: archived.Turn, url: str) -> dict[str, Any]:
    asset = turn.asset
    return {
        "sequence": turn.sequence,
        "speaker": turn.speaker,
        "at": turn.at,
        "duration": round(asset.duration, 3),
        "text": asset.text,
        "format": extension(asset.format),
        "size": asset.size,
        "provider": asset.upstream,
        "content_hash": asset.content_hash.hex(),
        "url": url,
        "until": turn.until,
    }


def _not_there() -> NotFound:
    """The one answer to what is not there and to what is not this caller's."""
    return NotFound("There is no such session.", remedy="It may have ended, or belong to somebody else.")


def archive_turn(session: str, body: TurnBody) -> None:
    """Archives a turn of a conversation: says a text, or finds it said; or keeps what was recorded elsewhere, where
    the body is audio (Content-Type audio/…) and the query tells `speaker`, `sequence`, `at` and `format`. Without a
    sequence it is the next turn; with that of another, it takes its place."""


def show_session(
    session: str, after: int = -1, limit: int = 100, scope: str | None = None, user: str | None = None
) -> None:
    """A session's turns in order, each with the URL of its audio, and what they come to."""


def end_session(session: str, scope: str | None = None, user: str | None = None) -> None:
    """Ends a session: its turns go, and what was kept for them alone."""


def list_sessions(
    after: str | None = None, limit: int = 50, scope: str | None = None, user: str | None = None
) -> None:
    """The sessions of the tenant, or of one of its users, the latest first."""


def hang_doors(app: FastAPI, gateway: Gateway, desk: Desk) -> None:
    """Hangs these doors. A session's name may hold slashes."""
    door = SessionDoor(gateway, desk)
    hang(app, "/api/sessions", "GET", SessionsDoor(gateway, desk), list_sessions)
    hang(app, "/api/sessions/{session:path}/turns", "POST", TurnDoor(gateway, desk), archive_turn)
    hang(app, "/api/sessions/{session:path}", "GET", door, show_session)
    hang(app, "/api/sessions/{session:path}", "DELETE", door, end_session)
