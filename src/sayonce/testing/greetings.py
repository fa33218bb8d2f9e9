"""The part of the catalog's contract suite that is about tenants' greetings: `CatalogContract` has it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from sqlalchemy import Connection, delete, select

from sayonce.access.tenants import altered
from sayonce.catalog.catalog import Catalog
from sayonce.catalog.greetings import Wanted, use_of
from sayonce.catalog.records import ApiKey, Asset, Lease, Selection, TakeOff, Tenant, Use, Wish
from sayonce.catalog.tables import tenants, uses
from sayonce.speech.voices import VoiceSettings
from sayonce.testing.rows import asset, hashed

_VOICE = VoiceSettings().changed({"provider": "openai", "voice": "nova", "speed": 1.25, "options": {"a": [1, None]}})


class GreetingContract:
    """What holds of greetings on every database."""

    async def land_greeting(self, catalog: Catalog, name: str, **other: Any) -> Asset:
        """Keeps an asset as the landing of a flight does."""
        kept = asset(name, made_at=time.time(), **other)
        wish = TakeOff(kept.recipe_hash, kept.content_hash, "shop", "here", refresh=True)
        lease = await catalog.take_off(wish, 10)
        assert isinstance(lease, Lease)
        await catalog.land(lease, kept, Use("request", keep_until=time.time() + 3_600), None, alone=True)
        return kept

    async def told(self, catalog: Catalog, text: str | None, **changes: Any) -> Tenant:
        """Tells the shop's greeting."""
        changes["greeting"] = text
        return await catalog.alter_tenant("shop", lambda now: altered(now or Tenant("shop"), changes))

    async def wanted(self, catalog: Catalog, tenant: Tenant, name: str | None = None) -> Wanted | None:
        """Has it written down: as the asset of that name, or of its text's."""
        name = name or tenant.greeting or ""
        wish = Wish(asset(name).content_hash, hashed(name), tenant.request(name), use_of(tenant.id))
        return await catalog.greetings.want(tenant, wish)

    async def greeting_uses(self, catalog: Catalog) -> set[tuple[bytes, int]]:
        """What is kept for the shop's greeting, or is to be: content hashes, and whether that is of before."""
        return set(await catalog._database.read(_uses))

    async def greeted(self, catalog: Catalog, text: str) -> Tenant:
        """Tells a greeting, and has it made."""
        tenant = await self.told(catalog, text)
        await self.wanted(catalog, tenant)
        await self.land_greeting(catalog, text)
        return tenant

    async def test_a_tenant_keeps_its_voice_and_its_greeting(self, catalog: Catalog) -> None:
        tenant = Tenant("shop", 5.0, chain=("openai",), voice=_VOICE, greeting="Grüß Gott.")
        await catalog.put_tenant(tenant)
        await catalog.add_key(hashed("k"), ApiKey("k", "shop", "", frozenset({"speak"}), 1.0))
        assert await catalog.tenant("shop") == tenant
        known = await catalog.key(hashed("k"))
        assert known is not None
        assert known[1] == tenant
        await catalog.put_tenant(Tenant("shop"))
        assert await catalog.tenant("shop") == Tenant("shop")

    async def test_what_is_told_at_once_of_one_tenant_is_all_told(self, catalogs: tuple[Catalog, ...]) -> None:
        await catalogs[0].put_tenant(Tenant("shop"))
        told: list[dict[str, Any]] = [{"rate": 5.0}, {"budget": 7.0}, {"voice": {"speed": 2}}, {"greeting": "Hi."}]

        async def tell(catalog: Catalog, changes: dict[str, Any]) -> None:
            await catalog.alter_tenant("shop", lambda now: altered(now or Tenant("shop"), changes))

        await asyncio.gather(*(tell(catalog, each) for catalog, each in zip(catalogs, told, strict=True)))
        voice = VoiceSettings(speed=2)
        assert await catalogs[0].tenant("shop") == Tenant("shop", 5.0, budget=7.0, voice=voice, greeting="Hi.")

    async def test_a_greeting_is_written_down_once(self, catalog: Catalog) -> None:
        tenant = await self.told(catalog, "a")
        first = await self.wanted(catalog, tenant)
        assert first is not None
        assert first.use is not None
        assert first.fresh
        assert await self.wanted(catalog, tenant) == Wanted(first.use, False)
        wish = await catalog.wished(first.use)
        assert wish is not None
        assert (wish.request.text, wish.use.pinned) == ("a", True)
        await self.land_greeting(catalog, "a")
        assert await self.wanted(catalog, tenant) == Wanted(None, False)
        found = await catalog.find(asset("a").content_hash)
        assert found is not None
        assert found.until is None

    async def test_who_was_told_something_else_meanwhile_writes_nothing_down(self, catalog: Catalog) -> None:
        tenant = await self.told(catalog, "a")
        for changed in ({"text": "b"}, {"text": "a", "voice": {"speed": 2}}, {"text": "a", "chain": ["espeak"]}):
            await self.told(catalog, **changed)
            assert await self.wanted(catalog, tenant) is None
        assert await self.greeting_uses(catalog) == set()

    async def test_the_old_one_stays_until_the_new_one_is_kept(self, catalog: Catalog) -> None:
        old = (await self.greeted(catalog, "a"), asset("a").content_hash)[1]
        new = asset("b").content_hash
        await self.wanted(catalog, await self.told(catalog, "b"))
        await catalog.greetings.settle("shop")
        assert await self.greeting_uses(catalog) == {(old, 1), (new, 0)}
        standing = await catalog.greetings.standing("shop")
        assert (standing.content_hash, standing.kept, standing.before) == (new, False, old)
        await self.land_greeting(catalog, "b")
        assert await catalog.greetings.neglected() == ["shop"]
        landing = await catalog.greetings.settle("shop")
        assert await self.greeting_uses(catalog) == {(new, 0)}
        assert (landing.displaced, landing.orphans) == ((old,), ()), "it was also asked for"
        assert await catalog.greetings.neglected() == []
        left = await catalog.find(old)
        assert left is not None
        assert left.until is not None

    async def test_what_no_use_keeps_goes_with_the_greeting(self, catalog: Catalog) -> None:
        await self.greeted(catalog, "a")
        await catalog._database.write(_forget_requests)
        await self.greeted(catalog, "b")
        landing = await catalog.greetings.settle("shop")
        await catalog.let_go(landing)
        assert [blob.digest for blob in landing.orphans] == [asset("a").digest]
        assert await catalog.find(asset("a").content_hash) is None

    async def test_of_two_changes_before_one_is_made_the_last_holds(self, catalog: Catalog) -> None:
        await self.greeted(catalog, "a")
        for text in ("b", "c"):
            await self.wanted(catalog, await self.told(catalog, text))
        assert await self.greeting_uses(catalog) == {(asset("a").content_hash, 1), (asset("c").content_hash, 0)}
        assert len(await catalog.unmade(0, 10)) == 1
        await self.land_greeting(catalog, "b")  # it was in flight
        await catalog.greetings.settle("shop")
        assert (await catalog.greetings.standing("shop")).before == asset("a").content_hash

    async def test_there_and_back_again(self, catalog: Catalog) -> None:
        await self.greeted(catalog, "a")
        for text in ("b", "a", "b", "a"):
            wanted = await self.wanted(catalog, await self.told(catalog, text))
            assert wanted is not None
            assert (wanted.use is None) == (text == "a")
        await catalog.greetings.settle("shop")
        assert await self.greeting_uses(catalog) == {(asset("a").content_hash, 0)}
        assert await catalog.unmade(0, 10) == []

    async def test_no_greeting_ends_all_of_it(self, catalog: Catalog) -> None:
        await self.greeted(catalog, "a")
        await self.wanted(catalog, await self.told(catalog, "b"))
        await self.told(catalog, "")
        assert await catalog.greetings.neglected() == ["shop"]
        await catalog.greetings.settle("shop")
        assert (await self.greeting_uses(catalog), await catalog.greetings.neglected()) == (set(), [])

    async def test_a_tenant_that_is_gone_leaves_nothing(self, catalog: Catalog) -> None:
        await self.greeted(catalog, "a")
        await catalog._database.write(_forget_tenants)
        assert await catalog.greetings.neglected() == ["shop"]
        await catalog.greetings.settle("shop")
        assert (await self.greeting_uses(catalog), await catalog.greetings.neglected()) == (set(), [])

    async def test_whose_greeting_is_neglected(self, catalog: Catalog) -> None:
        neglected = catalog.greetings.neglected
        await catalog.put_tenant(Tenant("silent"))
        tenant = await self.told(catalog, "a")
        assert (await neglected(), await neglected("shop"), await neglected("silent")) == (["shop"], ["shop"], [])
        await self.told(catalog, "a", disabled=True)
        assert await neglected() == [], "who is shut out has nothing made"
        await self.told(catalog, "a", disabled=False)
        await self.wanted(catalog, tenant)
        assert await neglected() == [], "it waits to be made"
        await self.land_greeting(catalog, "a")
        assert await neglected() == []
        removed, _ = await catalog.invalidate(Selection(tenant="default"), 0, 10)
        await catalog.let_go(removed)
        assert await neglected() == ["shop"]
        wanted = await self.wanted(catalog, tenant)
        assert wanted is not None
        assert wanted.fresh
        await self.land_greeting(catalog, "a", text=None)
        await catalog.remove(asset("a").content_hash, "default", lambda _: True)
        assert await neglected() == ["shop"]

    async def test_by_other_settings_it_is_another(self, catalog: Catalog) -> None:
        tenant = await self.greeted(catalog, "a")
        wanted = await self.wanted(catalog, tenant, "a elsewhere")
        assert wanted is not None
        assert wanted.fresh
        assert await self.greeting_uses(catalog) == {
            (asset("a").content_hash, 1),
            (asset("a elsewhere").content_hash, 0),
        }

    async def test_two_changes_at_once(self, catalogs: tuple[Catalog, ...]) -> None:
        await self.greeted(catalogs[0], "a")

        async def tell(catalog: Catalog, text: str) -> None:
            await self.wanted(catalog, await self.told(catalog, text))
            await catalog.greetings.settle("shop")

        for turn in range(5):
            await asyncio.gather(*(tell(each, f"{turn} {n}") for n, each in enumerate(catalogs)))
            tenant = await catalogs[0].tenant("shop")
            assert tenant is not None
            assert tenant.greeting is not None
            await self.wanted(catalogs[0], tenant)
            new = asset(tenant.greeting).content_hash
            assert await self.greeting_uses(catalogs[0]) == {(asset("a").content_hash, 1), (new, 0)}

    async def test_the_last_used_come_first(self, catalog: Catalog) -> None:
        for n, name in enumerate(("a", "b", "c")):
            tenant = Tenant(name, greeting=name)
            await catalog.put_tenant(tenant)
            await self.wanted(catalog, tenant)
            await self.land_greeting(catalog, name, size=100 + n)
        await self.land_greeting(catalog, "no greeting")
        await catalog.flush({}, {asset("b").content_hash: 1})
        found = await catalog.greetings.recent(10)
        assert [each.content_hash for each in found] == [asset(name).content_hash for name in ("b", "c", "a")]
        assert [each.size for each in found] == [101, 102, 100]
        assert len(await catalog.greetings.recent(2)) == 2


def _uses(connection: Connection) -> list[tuple[bytes, int]]:
    rows = connection.execute(select(uses.c.content_hash, uses.c.sequence).where(uses.c.kind == "greeting"))
    return [(row[0], row[1]) for row in rows]


def _forget_requests(connection: Connection) -> None:
    connection.execute(delete(uses).where(uses.c.kind == "request"))


def _forget_tenants(connection: Connection) -> None:
    connection.execute(delete(tenants))
