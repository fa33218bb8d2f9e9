"""Several gateways on one catalog, one storage and one Redis, before vendors that count."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx

from sayonce.audio.probe import probe
from sayonce.speech.formats import BY_NAME, AudioFormat
from sayonce.testing.vendors import FakeVendors
from sayonce.testing.vendors.sound import audio, length_of
from tests.chaos.buckets import Bucket
from tests.chaos.listeners import Listener
from tests.chaos.nursery import Nursery
from tests.chaos.replicas import Replica
from tests.conftest import until
from tests.e2e.processes import environment

_ROWS = (
    "SELECT a.content_hash, a.recipe_hash, a.format, a.text, a.size, a.digest, b.path, b.digest AS blob_digest "
    "FROM assets a LEFT JOIN blobs b ON b.asset = a.id"
)
# How many objects are read at a time.
_READS = 8


@dataclass(frozen=True)
class Grounds:
    """What all replicas of a fleet share. `redis` is its address; None: there is none."""

    nursery: Nursery
    database: str
    bucket: Bucket
    redis: str | None
    vendors: FakeVendors
    upstream: str


class Fleet:
    """Replicas on the same grounds. What they keep, each for itself, is below `folder`."""

    def __init__(self, grounds: Grounds, folder: Path, **settings: str) -> None:
        self.replicas: list[Replica] = []
        self.vendors = grounds.vendors
        self.bucket = grounds.bucket
        self._grounds = grounds
        self._folder = folder
        self._settings = settings

    async def start(self, number: int) -> list[Replica]:
        """Starts so many more, at once."""
        there = len(self.replicas)
        more = [self._made(f"replica-{n}") for n in range(there, there + number)]
        self.replicas += more
        await asyncio.gather(*(each.start() for each in more))
        return more

    async def close(self) -> None:
        """Ends them all."""
        await asyncio.gather(*(each.kill() for each in self.replicas))

    @property
    def calls(self) -> int:
        """How often the vendor was asked to speak."""
        return self.vendors.counts.calls

    def others(self, *without: Replica) -> list[Replica]:
        """All but these."""
        return [each for each in self.replicas if each not in without]

    def environment(self, name: str) -> dict[str, str]:
        """The environment of a replica of that name, or of a command beside them."""
        folder, grounds = self._folder / name, self._grounds
        folder.mkdir(parents=True, exist_ok=True)
        shared = {"DATABASE_URL": grounds.database, **grounds.bucket.settings()}
        if grounds.redis is not None:
            shared["REDIS_URL"] = grounds.redis
        return environment(folder, grounds.upstream, SAYONCE_REPLICA_NAME=name, **(shared | self._settings))

    def speech(self, text: str, seconds: float | None = None) -> bytes:
        """What the vendor says, all of it, when it is asked for a text."""
        asked = {"model": "tts-1", "voice": "nova", "input": text, "response_format": "mp3"}
        return audio(json.dumps(asked, sort_keys=True), seconds or length_of(text), BY_NAME["mp3"])

    # ── what must be so whatever happened ────────────────────────────────────────────────────────

    async def refuse_unsound(
        self,
        listeners: Iterable[Listener],
        *,
        calls: int = 1,
        aborted: int = 0,
        seconds: Sequence[float | None] = (None,),
    ) -> int:
        """Holds the laws against what listeners heard and what is kept: every answer is whole and of its text, but
        for so many that were aborted; at most so many calls were made for one text; each row has its bytes, and
        nobody fell over. How many rows there are. `seconds` are the lengths that the vendor spoke in."""
        heard = list(listeners)
        wrong = [(each.status, each.refused, each.at) for each in heard if each.status != 200]
        assert wrong == [], "somebody got no audio"
        lost = [each for each in heard if each.aborted]
        assert len(lost) <= aborted, self.story(lost)
        for each in heard:
            said = [self.speech(each.text, length) for length in seconds]
            assert any(one == each.audio if each.whole else one.startswith(each.audio) for one in said), each
        dear = {text: made for text, made in self.vendors.counts.texts.items() if made > calls}
        assert dear == {}, self.story(each for each in heard if each.text in dear)
        await until(self.has_landed)
        self._refuse_loud(heard)
        return await self._refuse_unsound_rows(seconds)

    def story(self, listeners: Iterable[Listener]) -> str:
        """What they heard, where and when, one a line."""
        told = [(each.began, each.text, each.at, each.outcome, each.ended) for each in listeners]
        return "\n".join(map(str, sorted(told, key=lambda each: each[0])))

    async def has_landed(self) -> bool:
        """Whether nobody flies."""
        async with httpx.AsyncClient() as http:
            for each in self.replicas:
                if each.lives:
                    told = (await http.get(f"{each.url}/api/cache-stats")).json()
                    if not told.get("success") or told["stats"]["flights"]:
                        return False
        return True

    def _refuse_loud(self, heard: Sequence[Listener]) -> None:
        """No replica met a bug, and none told what was said."""
        texts = {each.text for each in heard}
        for each in self.replicas:
            said = each.log
            assert '"event": "bug"' not in said, each
            assert "Traceback" not in said, said[said.index("Traceback") :][:3_000]
            assert not any(text in said for text in texts), each

    async def _refuse_unsound_rows(self, seconds: Sequence[float | None]) -> int:
        rows = await self._rows()
        names = {row["content_hash"] for row in rows}
        assert len({(row["recipe_hash"], row["format"]) for row in rows}) == len(names), "two rows of one recipe"
        assert len(rows) == len(names), "two rows, or two blobs, of one name"
        turn = asyncio.Semaphore(_READS)

        async def check(row: asyncpg.Record) -> None:
            async with turn:
                await self._refuse_unsound_row(row, seconds)

        await asyncio.gather(*(check(row) for row in rows))
        return len(rows)

    async def _rows(self) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self._grounds.database)
        try:
            rows: list[asyncpg.Record] = await connection.fetch(_ROWS)
            return rows
        finally:
            await connection.close()

    async def _refuse_unsound_row(self, row: asyncpg.Record, seconds: Sequence[float | None]) -> None:
        assert row["text"] is not None, "a row that has lost its text"
        assert row["path"] is not None, "a row without a blob"
        data = await self.bucket.read(row["path"])
        assert data is not None, "a blob without its bytes"
        assert len(data) == row["size"]
        assert hashlib.sha256(data).digest() == row["digest"] == row["blob_digest"]
        probe(data, AudioFormat.parse(row["format"]))
        assert data in [self.speech(row["text"], length) for length in seconds], "bytes of something else"

    def _made(self, name: str) -> Replica:
        return Replica(name, self._grounds.nursery, self.environment(name), self._folder / name / "log")
