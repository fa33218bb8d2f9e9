"""The part of the catalog's contract suite that is about what is yet to be made: `CatalogContract` has it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, select

from sayonce.catalog.catalog import Catalog
from sayonce.catalog.records import Asset, Blob, Lease, Selection, TakeOff, Use, Wish
from sayonce.catalog.tables import uses
from sayonce.speech.formats import MP3, WAV
from sayonce.speech.requests import Owner, Scope, SpeechRequest
from sayonce.testing.rows import asset, hashed

_EVERYTHING = SpeechRequest(
    text="Say  this\n\nplease: ‘ñ’.",
    upstream="openai",
    model="tts-1",
    voice="nova",
    language="en",
    speed=1.25,
    pitch=-2.0,
    style="calm",
    instructions="As if asleep.",
    options={"seed": 7, "deep": {"er": [1, None]}},
    variation=3,
    cleaner="rules 1",
    owner=Owner("default", Scope.SESSION, "ann", "s1"),
    format=WAV,
    discreet=True,
)


def wished(name: str, use: Use | None = None, **request: Any) -> Wish:
    """The wish that the asset of that name be there."""
    asked = SpeechRequest(text=f"Say {name}.", upstream="openai", format=MP3, **request)
    return Wish(asset(name).content_hash, hashed(name), asked, use or Use("request"))


class WishContract:
    """What holds of wishes on every database."""

    async def made(self, catalog: Catalog, kept: Asset, use: Use | None = None) -> None:
        """Keeps an asset as the landing of a flight does."""
        lease = await catalog.take_off(
            TakeOff(kept.recipe_hash, kept.content_hash, "default", "here", refresh=True), 10
        )
        assert isinstance(lease, Lease)
        await catalog.land(lease, kept, use or Use("request"), None, alone=True)

    async def one(self, catalog: Catalog, wish: Wish) -> int:
        """A wish that is yet to be made."""
        [use] = await catalog.wish([wish])
        assert use is not None
        return use

    async def test_a_wish_is_read_as_it_was_written(self, catalogs: tuple[Catalog, ...]) -> None:
        for wish in (
            wished("a", Use("collection", "book", 7, keep_until=9e9, sliding=5.0, pinned=True, at=8e8)),
            replace(wished("b"), request=_EVERYTHING, use=Use("request", at=1.0), due=5.0),
        ):
            use = await self.one(catalogs[0], wish)
            assert await catalogs[1].wished(use) == wish
        assert await catalogs[1].wished(12_345) is None

    async def test_what_is_unmade_is_told_page_by_page(self, catalog: Catalog) -> None:
        ids = await catalog.wish([wished(str(n)) for n in range(5)])
        assert None not in ids
        assert await catalog.unmade(0, 3) == ids[:3]
        assert await catalog.unmade(ids[2] or 0, 3) == ids[3:]

    async def test_a_wish_is_one_however_often_it_is_made(self, catalogs: tuple[Catalog, ...]) -> None:
        wanted = [wished(str(n)) for n in range(5)]
        told = await asyncio.gather(*(catalog.wish(wanted) for catalog in catalogs for _ in range(4)))
        assert all(each == told[0] for each in told)
        assert await catalogs[0].unmade(0, 100) == told[0]

    async def test_what_is_kept_is_not_wished_for(self, catalog: Catalog) -> None:
        await self.made(catalog, asset("a"), Use("request", keep_until=3e9))
        assert await catalog.wish([wished("a", Use("collection", "book", keep_until=4e9))]) == [None]
        assert await catalog.unmade(0, 10) == []
        found = await catalog.find(asset("a").content_hash)
        assert found is not None
        assert found.until == 4e9, "it lives as long as its longest use"

    async def test_a_landing_fulfils_every_wish_for_it_and_erases_the_texts(self, catalog: Catalog) -> None:
        now = time.time()
        wanted = [Use("request", at=now), Use("collection", "book", 3, keep_until=now + 50, at=now)]
        ids = await catalog.wish([wished("a", use) for use in wanted])
        other = await self.one(catalog, wished("b"))
        await self.made(catalog, asset("a", made_at=now + 1_000), Use("request", keep_until=now + 1_010))
        assert [await catalog.wished(use) for use in ids if use] == [None, None]
        assert await catalog.unmade(0, 10) == [other]
        rows = await catalog._database.read(_uses, asset("a").content_hash)
        assert {row.kind: row.keep_until for row in rows} == {"request": now + 1_010, "collection": now + 1_050}
        assert {row.kind: row.request is None for row in rows} == {"request": True, "collection": False}
        found = await catalog.find(asset("a").content_hash)
        assert found is not None
        assert found.until == now + 1_050, "a wish's time begins when it is made"

    async def test_what_may_be_to_be_made_again_stays_known_unless_texts_are_not_kept(self, catalog: Catalog) -> None:
        for name, text in (("a", "Say a."), ("b", None)):
            await self.one(catalog, wished(name, Use("collection", "book")))
            await self.made(catalog, asset(name, text=text))
            removed, _ = await catalog.invalidate(Selection(), 0, 10)
            await catalog.let_go(removed)
            [row, *others] = await catalog._database.read(_uses, asset(name).content_hash) or [None]
            assert (row is not None, others) == (text is not None, [])
        assert await catalog.unmade(0, 10) == [], "nobody asks for it"
        await self.made(catalog, asset("a"))
        await catalog.remove(asset("a").content_hash, "default", lambda _: True)
        assert await catalog._database.read(_uses, asset("a").content_hash) == [], "who deletes it means all of it"

    async def test_a_variant_fulfils_a_wish_for_its_format(self, catalog: Catalog) -> None:
        variant = asset("a", format=WAV)
        use = await self.one(catalog, replace(wished("a"), content_hash=variant.content_hash))
        await self.made(catalog, asset("a"))
        assert await catalog.wished(use) is not None
        await catalog.land_variant(asset("a"), variant, Use("variant"))
        assert await catalog.wished(use) is None

    async def test_no_upkeep_takes_what_is_yet_to_be_made(self, catalog: Catalog) -> None:
        past = time.time() - 1_000
        use = await self.one(catalog, wished("a", Use("request", keep_until=past + 10, at=past)))
        assert (await catalog.due()).uses == 0
        assert (await catalog.end_uses(10)).uses == 0
        await catalog.invalidate(Selection(), 0, 10)
        await catalog.evict(10, 10**9)
        assert await catalog.unmade(0, 10) == [use]

    async def test_a_wish_outlives_what_has_expired_under_its_name(self, catalog: Catalog) -> None:
        past = time.time() - 10
        await self.made(catalog, asset("a", until=past), Use("variant", keep_until=past))
        use = await self.one(catalog, wished("a"))
        assert await catalog.unmade(0, 10) == [use]
        await catalog.flush({}, {asset("a").content_hash: 1})
        assert await catalog.find(asset("a").content_hash) is None, "a wish keeps nothing alive"
        assert (await catalog.expire_assets(10)).assets == 1
        assert await catalog.unmade(0, 10) == [use]

    async def test_what_is_put_off_is_due_later_and_kept_as_long(self, catalog: Catalog) -> None:
        now = time.time()
        use = await self.one(catalog, wished("a", Use("request", keep_until=now + 50, at=now)))
        await catalog.postpone(use, 100)
        assert await catalog.unmade(0, 10) == []
        wish = await catalog.wished(use)
        assert wish is not None
        assert wish.due is not None
        assert wish.due > now + 90
        assert (wish.use.at, wish.use.keep_until) == (now, now + 50)
        assert await self.one(catalog, wished("a")) == use
        assert await catalog.unmade(0, 10) == [use], "who wishes anew does not wait for it"

    async def test_what_is_deleted_is_not_wished_for_any_more(self, catalog: Catalog) -> None:
        mine = Owner("default", Scope.USER, "ann")
        use = await self.one(catalog, wished("a", owner=mine))
        assert await catalog.wished_by(asset("a").content_hash) == [mine]
        assert await catalog.remove(asset("a").content_hash, "somebody", lambda _: True) is None
        assert await catalog.remove(asset("a").content_hash, "default", lambda owner: owner != mine) is None
        assert await catalog.wished(use) is not None
        removed = await catalog.remove(asset("a").content_hash, "default", lambda owner: owner == mine)
        assert removed is not None
        assert await catalog.wished(use) is None
        assert await catalog.wished_by(asset("a").content_hash) == []
        assert await catalog.remove(asset("a").content_hash, "default", lambda _: True) is None

    async def test_wishing_and_landing_at_once(self, catalogs: tuple[Catalog, ...]) -> None:
        """Whichever is first: nothing that is kept is yet to be made."""
        for n in range(10):
            name = f"raced {n}"
            await asyncio.gather(self.made(catalogs[0], asset(name)), catalogs[1].wish([wished(name)]))
            assert await catalogs[2].unmade(0, 10) == []

    async def test_a_lost_blob_is_no_new_wish(self, catalog: Catalog) -> None:
        await self.one(catalog, wished("a"))
        await self.made(catalog, asset("a"))
        [blob] = asset("a").blobs
        await catalog.drop_blob(asset("a").content_hash, Blob(blob.storage, blob.path, blob.digest))
        assert await catalog.find(asset("a").content_hash) is None
        assert await catalog.unmade(0, 10) == []


def _uses(connection: Connection, content_hash: bytes) -> list[Any]:
    found = select(uses.c.kind, uses.c.keep_until, uses.c.request).where(uses.c.content_hash == content_hash)
    return list(connection.execute(found).all())
