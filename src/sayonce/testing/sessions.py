"""The part of the catalog's contract suite that is about sessions: `CatalogContract` has it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, func, select

from sayonce.catalog.catalog import Catalog
from sayonce.catalog.records import TURN, Asset, Blob, Held, Lease, Session, TakeOff, Use
from sayonce.catalog.sessions import Archived, Opened
from sayonce.catalog.tables import assets, blobs, sessions, uses
from sayonce.speech.formats import WAV
from sayonce.testing.rows import asset, hashed

SESSION = Session("default", "s1")


def at(name: str, path: str, **other: Any) -> Asset:
    """The asset of that name, with its copy at a path."""
    made = asset(name, **other)
    return replace(made, blobs=(Blob("local", path, made.digest),))


class SessionContract:
    """What holds of sessions on every database."""

    async def keep(self, catalog: Catalog, kept: Asset, use: Use | None = None) -> None:
        """Keeps an asset as a landing does."""
        lease = await catalog.take_off(
            TakeOff(kept.recipe_hash, kept.content_hash, "default", "here", refresh=True), 10
        )
        assert isinstance(lease, Lease)
        await catalog.land(lease, kept, use or Use("request"), None, alone=False)

    async def opened(self, catalog: Catalog, session: Session = SESSION, sequence: int | None = None) -> Opened:
        """A turn that is on its way."""
        opened = await catalog.open_turn(session, sequence)
        assert opened is not None
        return opened

    async def turn(
        self, catalog: Catalog, copy: Asset, sequence: int | None = None, session: Session = SESSION, **use: Any
    ) -> tuple[int, Archived]:
        """Archives a recording as a turn; its sequence, and what became of it."""
        opened = await self.opened(catalog, session, sequence)
        given = {"at": 1_000.0, **use}
        made = Use(TURN, session.key, opened.sequence, **given)
        return opened.sequence, await catalog.archive(opened, copy, made, recorded=True)

    async def heard(self, catalog: Catalog, session: Session = SESSION) -> list[tuple[int, bytes]]:
        """Each turn's sequence and what it is heard by."""
        found = await catalog.conversation(session, -1, 1_000)
        return [] if found is None else [(turn.sequence, turn.asset.content_hash) for turn in found[1]]

    async def test_turns_at_once_get_two_sequences(self, catalogs: tuple[Catalog, ...]) -> None:
        opened = await asyncio.gather(
            *(self.opened(catalog) for catalog in catalogs for _ in range(8)),
            *(self.opened(catalogs[0], Session("default", f"s{n}")) for n in (2, 3)),
        )
        assert sorted(each.sequence for each in opened[:32]) == list(range(1, 33))
        assert [each.sequence for each in opened[32:]] == [1, 1]

    async def test_turns_archived_at_once_are_all_there(self, catalogs: tuple[Catalog, ...]) -> None:
        copies = [at(str(n % 5), f"turns/{n % 5}") for n in range(24)]
        told = await asyncio.gather(*(self.turn(catalogs[n % 4], copy) for n, copy in enumerate(copies)))
        assert all(archived.there for _, archived in told)
        wanted = {sequence: copy.content_hash for (sequence, _), copy in zip(told, copies, strict=True)}
        assert dict(await self.heard(catalogs[0])) == wanted
        assert sorted(wanted) == list(range(1, 25))

    async def test_of_one_turn_archived_at_once_one_is_left(self, catalogs: tuple[Catalog, ...]) -> None:
        copies = [at(str(n), f"turns/{n}") for n in range(8)]
        await asyncio.gather(*(self.turn(catalogs[n % 4], copy, 7) for n, copy in enumerate(copies)))
        [(sequence, left)] = await self.heard(catalogs[0])
        assert sequence == 7
        assert await catalogs[0]._database.read(_counts) == (1, 1, 1), "nothing is left of the others"
        assert left in {copy.content_hash for copy in copies}

    async def test_the_next_free_sequence_is_after_every_other(self, catalog: Catalog) -> None:
        for asked, given in ((None, 1), (5, 5), (None, 6), (2, 2), (0, 0), (None, 7)):
            assert (await self.opened(catalog, SESSION, asked)).sequence == given
        await catalog.give_back(await self.opened(catalog))
        first, second = [await self.opened(catalog) for _ in range(2)]
        await catalog.give_back(first)
        assert (first.sequence, second.sequence) == (8, 9)
        assert (await self.opened(catalog)).sequence == 10, "the second is under way"

    async def test_a_turn_lets_an_asset_live_and_takes_it_along(self, catalog: Catalog) -> None:
        copy = at("a", "turns/a")
        assert (await self.turn(catalog, copy, keep_until=4e9))[1].there
        found = await catalog.find(copy.content_hash)
        assert found is not None
        assert (found.until, [blob.path for blob in found.blobs]) == (4e9, ["turns/a"])
        before = await catalog.newest_change()
        ended = await catalog.end_turns(SESSION, 10)
        assert (ended.turns, ended.more, [blob.path for blob in ended.landing.orphans]) == (1, False, ["turns/a"])
        assert await catalog.find(copy.content_hash) is None
        assert ("asset", copy.content_hash.hex()) in {
            (change.kind, change.subject) for change in await catalog.changes_since(before)
        }
        assert await catalog._database.read(_counts) == (0, 0, 0)

    async def test_what_another_use_keeps_stays(self, catalog: Catalog) -> None:
        await self.keep(catalog, asset("a"), Use("request", keep_until=3e9))
        await self.turn(catalog, at("a", "turns/a"), keep_until=4e9)
        ended = await catalog.end_turns(SESSION, 10)
        assert [blob.path for blob in ended.landing.orphans] == ["turns/a"]
        found = await catalog.find(asset("a").content_hash)
        assert found is not None
        assert (found.until, found.blobs) == (3e9, asset("a").blobs)

    async def test_an_assets_last_copy_stays_with_it(self, catalog: Catalog) -> None:
        """Where another use came to keep it that has no copy of its own."""
        await self.turn(catalog, at("a", "turns/a"))
        copy = Blob("local", "turns/a", asset("a").digest)
        await catalog.attach(asset("a").content_hash, replace(copy, path="m"), Use("message", "m"))
        await catalog.drop_blob(asset("a").content_hash, replace(copy, path="m"))
        assert (await catalog.end_turns(SESSION, 10)).landing.orphans == ()
        found = await catalog.find(asset("a").content_hash)
        assert found is not None
        assert found.blobs == (copy,)

    async def test_a_variant_goes_with_what_it_was_made_of(self, catalog: Catalog) -> None:
        await self.turn(catalog, at("a", "turns/a"))
        await catalog.land_variant(asset("a"), asset("a", format=WAV), Use("variant"))
        ended = await catalog.end_turns(SESSION, 10)
        assert len(ended.landing.orphans) == 2
        assert await catalog.variants(hashed("a")) == ()

    async def test_a_turn_may_be_replaced_by_a_variant_of_it(self, catalog: Catalog) -> None:
        await self.turn(catalog, at("a", "turns/a"), 1)
        variant = asset("a", format=WAV)
        await catalog.land_variant(asset("a"), variant, Use("variant"))
        _, archived = await self.turn(catalog, at("a", "turns/wav", format=WAV), 1)
        assert (archived.there, [blob.path for blob in archived.landing.orphans]) == (True, ["turns/a"])
        assert await self.heard(catalog) == [(1, variant.content_hash)]

    async def test_a_replaced_turn_leaves_nothing(self, catalog: Catalog) -> None:
        await self.turn(catalog, at("a", "turns/a"), 1)
        _, archived = await self.turn(catalog, at("b", "turns/b"), 1)
        assert [blob.path for blob in archived.landing.orphans] == ["turns/a"]
        _, archived = await self.turn(catalog, at("b", "tomorrow/b"), 1)
        assert [blob.path for blob in archived.landing.orphans] == ["turns/b"]
        assert await self.heard(catalog) == [(1, asset("b").content_hash)]
        assert await catalog._database.read(_counts) == (1, 1, 1)

    async def test_a_landing_takes_a_turn_over(self, catalog: Catalog) -> None:
        await self.turn(catalog, at("a", "turns/a"), 1)
        lease = await catalog.take_off(TakeOff(hashed("b"), asset("b").content_hash, "default", "here"), 10)
        assert isinstance(lease, Lease)
        landing = await catalog.land(lease, at("b", "turns/b"), Use(TURN, SESSION.key, 1), None, alone=True)
        assert ([blob.path for blob in landing.orphans], landing.displaced) == (
            ["turns/a"],
            (asset("a").content_hash,),
        )
        assert await self.heard(catalog) == [(1, asset("b").content_hash)]

    async def test_a_turn_of_what_is_not_kept_is_none(self, catalog: Catalog) -> None:
        opened = await self.opened(catalog)
        use = Use(TURN, SESSION.key, opened.sequence, at=1.0)
        archived = await catalog.archive(opened, at("a", "turns/a"), use)
        assert (archived.there, archived.ended, len(archived.landing.orphans)) == (False, False, 1)
        assert await self.heard(catalog) == []

    async def test_nothing_gets_into_what_was_ended(self, catalogs: tuple[Catalog, ...]) -> None:
        await self.turn(catalogs[0], at("a", "turns/a"))
        opened = await self.opened(catalogs[0])
        assert (await catalogs[1].end_turns(SESSION, 10)).turns == 1
        use = Use(TURN, SESSION.key, opened.sequence, at=1.0)
        archived = await catalogs[0].archive(opened, at("b", "turns/b"), use, recorded=True)
        assert (archived.there, archived.ended, len(archived.landing.orphans)) == (False, True, 1)
        assert await self.heard(catalogs[0]) == []

    async def test_nothing_begins_in_what_is_being_ended(self, catalogs: tuple[Catalog, ...]) -> None:
        await self.turn(catalogs[0], at("a", "turns/a"))
        await catalogs[0].end_turns(SESSION, 10)
        assert await catalogs[1].open_turn(SESSION, None) is None
        await catalogs[0].forget_session(SESSION)
        assert (await self.opened(catalogs[1])).sequence == 1
        await catalogs[0].forget_session(SESSION)
        assert (await self.opened(catalogs[1])).sequence == 2, "only what was ended is forgotten"

    async def test_nobody_lands_what_went_with_a_turn(self, catalogs: tuple[Catalog, ...]) -> None:
        """While its blobs are deleted: it would land at the same paths."""
        await self.turn(catalogs[0], at("a", "turns/a"))
        await self.turn(catalogs[0], at("b", "turns/b"), 5)
        _, archived = await self.turn(catalogs[0], at("c", "turns/c"), 5)
        ended = await catalogs[0].end_turns(SESSION, 10)
        wishes = [TakeOff(hashed(name), asset(name).content_hash, "default", "there") for name in "abc"]
        for wish in wishes:
            assert isinstance(await catalogs[1].take_off(wish, 10), Held)
        for landing in (ended.landing, archived.landing):
            await catalogs[0].let_go(landing)
        for wish in wishes:
            assert isinstance(await catalogs[1].take_off(wish, 10), Lease)

    async def test_a_refresh_of_another_format_keeps_the_turn(self, catalog: Catalog) -> None:
        await self.turn(catalog, at("a", "turns/a", format=WAV), speaker="ann")
        lease = await catalog.take_off(
            TakeOff(hashed("a"), asset("a").content_hash, "default", "here", refresh=True), 10
        )
        assert isinstance(lease, Lease)
        await catalog.land(lease, asset("a"), Use("request", keep_until=5e9), None, alone=True)
        assert await self.heard(catalog) == [(1, asset("a").content_hash)]
        assert (await catalog.end_turns(SESSION, 10)).landing.orphans == ()
        found = await catalog.find(asset("a").content_hash)
        assert found is not None
        assert found.until == 5e9

    async def test_whose_a_session_is(self, catalog: Catalog) -> None:
        owners = [Session("default", "s1"), Session("other", "s1"), Session("default", "s1", "ann")]
        for n, session in enumerate(owners):
            await self.turn(catalog, at(str(n), f"turns/{n}"), session=session)
        for n, session in enumerate(owners):
            assert await self.heard(catalog, session) == [(1, asset(str(n)).content_hash)]
            assert [each.session for each in await catalog.sessions_of(session, None, 10)] == [session]
        assert await catalog.sessions_of(Session("default", "", "ben"), None, 10) == []

    async def test_batches_end_all(self, catalog: Catalog) -> None:
        for n in range(7):
            await self.turn(catalog, at(str(n), f"turns/{n}"))
        told = [await catalog.end_turns(SESSION, 3) for _ in range(3)]
        assert [(each.turns, each.more) for each in told] == [(3, True), (3, True), (1, False)]

    async def test_what_is_over_is_tidied_up(self, catalog: Catalog) -> None:
        await self.turn(catalog, at("a", "turns/a"), keep_until=1.0)
        assert await self.heard(catalog) == []
        assert await catalog.sessions_of(SESSION, None, 10) == []
        ended = await catalog.end_uses(10)
        assert (ended.uses, [blob.path for blob in ended.landing.orphans]) == (1, ["turns/a"])
        await catalog._database.write(_age)
        await catalog.flush({}, {})
        assert await catalog._database.read(_sessions) == 0


def _counts(connection: Connection) -> tuple[int, ...]:
    """Of assets, blobs and uses."""
    return tuple(
        connection.execute(select(func.count()).select_from(each)).scalar_one() for each in (assets, blobs, uses)
    )


def _sessions(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(sessions)).scalar_one()


def _age(connection: Connection) -> None:
    """Two days later."""
    connection.execute(sessions.update().values(until=sessions.c.until - 2 * 86_400))
