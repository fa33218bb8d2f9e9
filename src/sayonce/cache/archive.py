"""The archive of conversations: each turn's audio under its session and date, with a retention of its own."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sayonce.audio.probe import Undecodable, probe
from sayonce.cache.answers import Answer, Live, whole
from sayonce.cache.checking import is_plausible
from sayonce.cache.engine import Engine
from sayonce.cache.metadata import path_fields
from sayonce.cache.orders import Chain, Clip, Outcome, Placement, Retention
from sayonce.cache.shelf import Berth, Shelf
from sayonce.catalog import sessions
from sayonce.catalog.catalog import Catalog
from sayonce.catalog.records import TURN, Asset, Session, Use
from sayonce.catalog.sessions import Opened
from sayonce.errors import (
    BrokenAudio,
    CatalogError,
    InvalidAudio,
    InvalidSettings,
    NotFound,
    SayonceError,
    SequenceTaken,
    StorageUnavailable,
)
from sayonce.speech.formats import AudioFormat
from sayonce.speech.recipes import Recipe
from sayonce.speech.requests import Owner
from sayonce.storage.paths import PathTemplate

#: Who is said to speak what was recorded elsewhere.
RECORDED = "recorded"
# What is found and then turns out to be gone is asked for again, so many times in all.
_TRIES = 3
# Turns that are ended at a time, and recordings that are looked at.
_BATCH, _LOOKED_AT = 50, 2
# How often a session that is being ended is looked at, in seconds, and how many times.
_GLANCE, _GLANCES = 0.1, 100
# No turn of a conversation lasts so long, in seconds; and decoding it all takes a minute.
_LONGEST = 4 * 3_600.0


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn that is to be archived. Without a sequence it gets the next free one; `at` is in seconds since 1970."""

    session: Session
    at: float
    speaker: str | None = None
    sequence: int | None = None
    keep: Retention = Retention()


class Archive:
    """Archives what the engine says, and what was recorded elsewhere. `template` is the path of a turn's copy;
    InvalidSettings where two assets could share one. `clock` gives seconds since 1970."""

    def __init__(
        self, engine: Engine, shelf: Shelf, catalog: Catalog, template: str, clock: Callable[[], float]
    ) -> None:
        self._engine = engine
        self._shelf = shelf
        self._catalog = catalog
        self._clock = clock
        self._looking = asyncio.Semaphore(_LOOKED_AT)
        # Two tenants may have sessions of one name, and turns of what both share.
        self._own, self._others = PathTemplate(template), PathTemplate("tenants/{tenant}/" + template)
        if not self._own.names_assets:
            raise InvalidSettings(
                f"The path template {template!r} gives many turns one path.", remedy="Add {hash} to turn_path."
            )

    async def say(self, chain: Chain, turn: Turn) -> tuple[Answer, sessions.Turn]:
        """Says a turn, or finds it said, and archives it. Errors are the engine's, and those of what could not be
        kept: then it is not archived. NotFound where the session was ended meanwhile."""
        async with self._opened(turn) as opened:
            use = self._use(turn, opened)
            chain = chain.at(Placement(lambda asset: self._path(turn, asset), use), turn.keep)
            for _ in range(_TRIES):
                answer = self._engine.recall(chain.first) or await self._engine.say(chain)
                clip = await _landed(answer)
                archived = await self._file(opened, clip, turn)
                if archived is not None:
                    return answer, archived
                if answer.outcome not in (Outcome.HIT, Outcome.JOINED):
                    break
            await self._refuse_taken(opened, clip)
            raise _unkept(answer, clip)

    async def record(self, data: bytes, audio_format: AudioFormat, owner: Owner, turn: Turn) -> sessions.Turn:
        """Archives what was recorded elsewhere. InvalidAudio where it is no whole audio of that format; NotFound
        where the session was ended meanwhile."""
        async with self._looking:
            clip = await asyncio.to_thread(_recorded, data, audio_format, owner, self._clock())
        async with self._opened(turn) as opened:
            archived = await self._file(opened, clip, turn, recorded=True)
        if archived is None:
            raise _lost()
        return archived

    async def end(self, session: Session) -> int:
        """Ends a session, with what was kept for it alone; how many turns it had."""
        turns, more = 0, True
        while more:
            ended = await self._shelf.end(session, _BATCH)
            turns, more = turns + ended.turns, ended.more
        return turns

    @asynccontextmanager
    async def _opened(self, turn: Turn) -> AsyncIterator[Opened]:
        """The turn with its sequence, which is another's where it was given out for nothing."""
        opened = await self._begun(turn)
        try:
            yield opened
        except BaseException:
            if opened.given:
                with suppress(CatalogError):  # then there is a gap
                    await asyncio.shield(self._catalog.give_back(opened))
            raise

    async def _begun(self, turn: Turn) -> Opened:
        for _ in range(_GLANCES):
            opened = await self._catalog.open_turn(turn.session, turn.sequence)
            if opened is not None:
                return opened
            await asyncio.sleep(_GLANCE)
        raise NotFound("The session is being ended.", remedy="Begin it anew in a moment.")

    async def _file(self, opened: Opened, clip: Clip, turn: Turn, *, recorded: bool = False) -> sessions.Turn | None:
        """The turn as it is archived; None where the clip is not kept any more as it was."""
        until = None if turn.keep.seconds is None else self._clock() + turn.keep.seconds
        use = replace(
            self._use(turn, opened),
            keep_until=until,
            sliding=turn.keep.seconds if turn.keep.sliding else None,
        )
        berth = Berth(use, self._path(turn, clip.asset))
        archived = await self._shelf.archive(opened, clip, berth, recorded=recorded)
        if archived.ended:
            raise NotFound("The session was ended before this turn was in it.", remedy="Begin it anew.")
        asset = await self._shelf.find(clip.asset.content_hash) if archived.there else None
        if asset is None:
            return None
        return sessions.Turn(opened.sequence, turn.speaker, turn.at, until, sessions.own_first(asset, berth.path))

    async def _refuse_taken(self, opened: Opened, clip: Clip) -> None:
        """SequenceTaken where another has archived other audio as this turn."""
        there = await self._catalog.conversation(opened.session, opened.sequence - 1, 1)
        taken = [each for each in (there[1] if there else ()) if each.sequence == opened.sequence]
        if taken and taken[0].asset.content_hash != clip.asset.content_hash:
            raise SequenceTaken(
                "Another turn was archived under this sequence at the same moment, and took its place.",
                param="sequence",
                remedy="Leave the sequence out to have the next free one, or send one turn of a sequence at a time.",
            )

    def _use(self, turn: Turn, opened: Opened) -> Use:
        # Pinned: an archive does not make room for what is asked for more often.
        return Use(TURN, turn.session.key, opened.sequence, turn.speaker, at=turn.at, pinned=True)

    def _path(self, turn: Turn, asset: Asset) -> str:
        session, day = turn.session, datetime.fromtimestamp(turn.at, UTC)
        fields = {
            "tenant": session.tenant,
            "session": session.name,
            "yyyy": f"{day:%Y}",
            "mm": f"{day:%m}",
            "dd": f"{day:%d}",
        }
        template = self._own if session.tenant == "default" else self._others
        user = {} if session.user is None else {"user": session.user}
        return template.render(path_fields(asset) | fields | user)


async def _landed(answer: Answer) -> Clip:
    """All of it, when it is kept or cannot be: listeners need not wait for that, an archive must."""
    clip = await whole(answer)
    if isinstance(answer, Live):
        await answer.flight.over()
    return clip


def recipe_of(digest: bytes, owner: Owner) -> Recipe:
    """The recipe of a recording. What is spoken always has a normaliser, so no speech request has this one."""
    return Recipe(text=digest.hex(), upstream=RECORDED, owner=owner, normaliser="")


def _recorded(data: bytes, audio_format: AudioFormat, owner: Owner, now: float) -> Clip:
    try:
        measured = probe(data, audio_format, longest=_LONGEST)
    except Undecodable as error:
        raise InvalidAudio(
            f"The body is no whole {audio_format.codec} audio: {error}.",
            param="body",
            remedy="Send one whole file, and its format in `format`.",
        ) from error
    digest = hashlib.sha256(data).digest()
    recipe = recipe_of(digest, owner)
    asset = Asset(
        content_hash=recipe.content_hash(audio_format),
        recipe_hash=recipe.hash,
        format=audio_format,
        owner=owner,
        upstream=RECORDED,
        model=None,
        voice=None,
        language=None,
        text=None,
        characters=0,
        size=len(data),
        digest=digest,
        duration=measured.duration,
        sample_rate=measured.sample_rate,
        marks=(),
        cost=0,
        transcoded=False,
        flags=frozenset(),
        made_at=now,
        until=None,
        blobs=(),
    )
    return Clip(asset, data)


def _unkept(answer: Answer, clip: Clip) -> SayonceError:
    """Why what was said is not in the archive."""
    order, said = answer.order, answer.flight.said if isinstance(answer, Live) else answer.order.recipe
    if not is_plausible(said, clip):
        name = order.provider.upstream.name
        return BrokenAudio(
            f"What '{name}' sent is too long or too short for the text, and was not archived.",
            provider=name,
            remedy="Try again: a second such answer is believed.",
        )
    return _lost()


def _lost() -> StorageUnavailable:
    return StorageUnavailable(
        "The turn could not be kept, and is not in the archive.",
        backend="archive",
        remedy="Try again in a moment; what was spoken is in memory, and is not paid for again.",
    )
