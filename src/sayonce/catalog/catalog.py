"""The catalog as the engine and the doors use it: every question and every transaction by its name."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from sqlalchemy import Connection

from sayonce.catalog import (
    accounts,
    adoption,
    assets,
    changes,
    leases,
    placements,
    sessions,
    silences,
    upkeep,
    usage,
    wishes,
)
from sayonce.catalog.census import Censuses, census_of
from sayonce.catalog.collections import Collections
from sayonce.catalog.database import Database
from sayonce.catalog.greetings import StoredGreetings
from sayonce.catalog.imports import Imports
from sayonce.catalog.inventory import Inventory
from sayonce.catalog.moves import Moves
from sayonce.catalog.records import (
    ApiKey,
    Asset,
    Blob,
    Change,
    Held,
    Kept,
    Landing,
    Lease,
    Progress,
    Removed,
    Selection,
    Session,
    Spent,
    Statistics,
    TakeOff,
    Tenant,
    UsageCount,
    UsageKey,
    Use,
    Wish,
)
from sayonce.catalog.stored import StoredBytes
from sayonce.speech.requests import Owner

#: How long change-log entries stay, in seconds: who read nothing for half of that must forget everything.
CHANGES_STAY = 3_600.0
# How many content hashes one statement names.
_BATCH = 500


class Catalog:
    """Questions wait for one lookup; transactions for the writer. Errors are CatalogErrors unless said."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock
        self._identity: str | None = None
        #: The bytes of blobs whose storage is this database.
        self.bytes = StoredBytes(database, clock)
        self.collections = Collections(database, clock)
        #: What is kept and used, counted.
        self.censuses = Censuses(database, clock)
        #: What callers of tenants are greeted with.
        self.greetings = StoredGreetings(database, clock)
        #: What is brought along from elsewhere, what there is, and what changes its storage.
        self.imports = Imports(database, clock)
        self.inventory = Inventory(database, clock)
        self.moves = Moves(database, clock)

    # ── assets ───────────────────────────────────────────────────────────────────────────────────

    async def variants(self, recipe_hash: bytes) -> tuple[Asset, ...]:
        """The living assets of a recipe, one a format."""
        rows = await self._database.look_up(assets.BY_RECIPE, {"recipe_hash": recipe_hash})
        return self._living(assets.assets_of(rows))

    async def find(self, content_hash: bytes) -> Asset | None:
        """The living asset of a content hash."""
        rows = await self._database.look_up(assets.BY_CONTENT, {"content_hash": content_hash})
        return next(iter(self._living(assets.assets_of(rows))), None)

    async def remove(self, content_hash: bytes, tenant: str, may: Callable[[Owner], bool]) -> Removed | None:
        """Deletes a content hash's recipe with every variant and use; a flight making it cannot land, nor anybody
        until its blobs are deleted and it is let go. None where there is neither asset nor flight of that tenant's
        that it `may` have."""
        return await self._database.write(leases.remove, content_hash, tenant, may, self._clock())

    async def let_go(self, removed: Removed | Landing) -> None:
        """Lets everybody land again what was removed."""
        await self._database.note(leases.let_go, removed.holds)

    async def drop_blob(self, content_hash: bytes, blob: Blob) -> None:
        """Forgets a blob that is definitely gone or broken, and an asset with its last one."""
        await self._database.write(assets.drop_blob, content_hash, blob, self._clock())

    # ── flights ──────────────────────────────────────────────────────────────────────────────────

    async def take_off(self, wish: TakeOff, life: float) -> Lease | Held | Kept:
        """The lease for `life` seconds, or who has it, or what is kept. BudgetSpent where it cannot be paid."""
        return await self._database.note(leases.take_off, wish, life, self._clock())

    async def progress(self, recipe_hash: bytes) -> Progress | None:
        """Where another's flight stands; None where nobody flies."""
        return leases.progress_of(await self._database.look_up(leases.PROGRESS, {"recipe_hash": recipe_hash}))

    async def renew(self, lease: Lease, life: float) -> Lease:
        """The lease with a new expiry; FenceLost where another holds it."""
        return await self._database.note(leases.renew, lease, life, self._clock())

    async def land(self, lease: Lease, asset: Asset, use: Use, spent: Spent | None, *, alone: bool) -> Landing:
        """Keeps the asset (with `alone`, instead of every variant of its recipe) and gives the lease back. Answers
        the blobs to delete next, and whose place was taken over. FenceLost, and nothing changed, where the lease is
        another's."""
        return await self._database.write(leases.land, lease, asset, use, spent, alone=alone, now=self._clock())

    async def attach(self, content_hash: bytes, blob: Blob, use: Use) -> Landing | None:
        """One more blob and use of what is kept; None where it is not kept any more as it was. Answers what else
        changed, as a landing does."""
        return await self._database.write(leases.attach, content_hash, blob, use, self._clock())

    async def shelve(self, content_hash: bytes, blob: Blob) -> bool:
        """One more copy of what is kept, for a while; False where it is not kept any more as it was."""
        return await self._database.write(placements.shelve, content_hash, blob)

    async def land_unchanged(self, lease: Lease, spent: Spent | None) -> None:
        """Gives the lease back after a refresh that brought the very bytes that are kept."""
        await self._database.write(leases.land_unchanged, lease, spent, self._clock())

    async def land_variant(self, source: Asset, variant: Asset, use: Use) -> tuple[Blob, ...] | None:
        """Keeps a transcoded variant of an asset; None where that is no longer kept as it was. Answers the blobs
        to delete next."""
        return await self._database.write(leases.land_variant, source, variant, use, self._clock())

    async def release(self, lease: Lease, *, failure: str | None = None) -> None:
        """Gives the lease back without a landing; those who wait elsewhere find `failure`."""
        await self._database.note(leases.release, lease, failure, self._clock())

    async def book(self, spent: Spent) -> None:
        """Adds what a generation cost that did not land to what its tenant has spent."""
        await self._database.note(leases.settle, spent, self._clock())

    async def doubt(self, recipe_hash: bytes) -> None:
        """Notes an implausible answer: a second one is believed."""
        await self._database.note(leases.doubt, recipe_hash, self._clock())

    async def is_doubted(self, recipe_hash: bytes) -> bool:
        """Whether an implausible answer was noted before."""
        return await self._database.read(leases.is_doubted, recipe_hash)

    # ── what is yet to be made ───────────────────────────────────────────────────────────────────

    async def wish(self, wanted: Sequence[Wish]) -> Sequence[int | None]:
        """Writes down what is wished for; the id of each use that is yet to be made, None of one whose asset is
        kept."""
        return await self._database.write(wishes.add, wanted, self._clock())

    async def wished(self, use: int) -> Wish | None:
        """The wish of that use; None where it is made, or not wished for any more."""
        return wishes.wish_of(await self._database.look_up(wishes.WISHED, {"use": use, "now": self._clock()}))

    async def wished_by(self, content_hash: bytes) -> Sequence[Owner]:
        """For whom the asset of that content hash is yet to be made."""
        return await self._database.read(wishes.owners, content_hash, self._clock())

    async def unmade(self, after: int, most: int) -> Sequence[int]:
        """The ids of uses that are due and yet to be made, in their order from `after` on, at most so many."""
        return await self._database.survey(wishes.unmade, after, most, self._clock())

    async def postpone(self, use: int, seconds: float, failure: str | None = None) -> None:
        """Lets a use that is yet to be made be due only after so many seconds, and notes why it could not be made."""
        await self._database.note(wishes.postpone, use, self._clock() + seconds, failure)

    # ── sessions ─────────────────────────────────────────────────────────────────────────────────

    async def open_turn(self, session: Session, sequence: int | None) -> sessions.Opened | None:
        """Begins a turn of a session; without a sequence it gets the next free one, which no other gets. None while
        the session is being ended."""
        return await self._database.note(sessions.open_turn, session, sequence, self._clock())

    async def give_back(self, opened: sessions.Opened) -> None:
        """Takes back a sequence that was given out for nothing, if it is the newest."""
        await self._database.note(sessions.give_back, opened)

    async def archive(
        self, opened: sessions.Opened, asset: Asset, use: Use, *, recorded: bool = False
    ) -> sessions.Archived:
        """Keeps an asset with its one blob as a turn: one that is kept already, or was `recorded`."""
        return await self._database.write(sessions.archive, opened, asset, use, self._clock(), recorded=recorded)

    async def end_turns(self, session: Session, most: int) -> sessions.Ended:
        """Ends at most so many of a session's turns; what is on its way into it will not get there, and nothing new
        until it is forgotten."""
        return await self._database.write(sessions.end, session, most, self._clock())

    async def forget_session(self, session: Session) -> None:
        """Lets a session that was ended begin anew."""
        await self._database.note(sessions.forget, session)

    async def conversation(
        self, session: Session, after: int, most: int
    ) -> tuple[sessions.Totals, Sequence[sessions.Turn]] | None:
        """A session's totals, and at most so many of its turns after one, in order; None where there is none."""
        return await self._database.survey(sessions.conversation, session, after, most, self._clock())

    async def sessions_of(
        self, owner: Session, before: tuple[float, int] | None, most: int
    ) -> Sequence[sessions.Listed]:
        """At most so many sessions of whom this one is of, the latest first, after the one of that time and id."""
        return await self._database.survey(sessions.listed, owner, before, most, self._clock())

    # ── adoption ─────────────────────────────────────────────────────────────────────────────────

    async def may_adopt(self, asset: Asset) -> bool:
        """Whether nothing else is kept of the asset's recipe than these very bytes, or what was adopted, too."""
        return await self._database.read(adoption.may_adopt, asset)

    async def adopt(self, lease: Lease, asset: Asset, use: Use) -> bool:
        """Gives the lease back and keeps the asset, or one more blob of it, if neither its place nor its name is
        taken; whether it did. FenceLost, and nothing changed, where the lease is another's."""
        return await self._database.write(adoption.adopt, lease, asset, use)

    async def kept_forever(self, storage: str) -> int:
        """How many assets of a storage are kept without an end."""
        return await self._database.read(adoption.kept_forever, storage)

    # ── accounts ─────────────────────────────────────────────────────────────────────────────────

    async def key(self, key_hash: bytes) -> tuple[ApiKey, Tenant] | None:
        """The key of that SHA-256, revoked or not, with its tenant."""
        rows = await self._database.look_up(accounts.BY_KEY, {"key_hash": key_hash})
        return accounts.key_and_tenant(rows)

    async def tenant(self, tenant_id: str) -> Tenant | None:
        """The tenant of that id."""
        return accounts.tenant_of(await self._database.look_up(accounts.BY_TENANT, {"id": tenant_id}))

    async def put_tenant(self, tenant: Tenant) -> None:
        """Makes the tenant, or gives it these values."""
        await self._database.write(accounts.put_tenant, tenant, self._clock())

    async def alter_tenant(self, tenant_id: str, change: Callable[[Tenant | None], Tenant]) -> Tenant:
        """Makes of a tenant, or of None where there is none such, what `change` says, which may be asked twice."""
        return await self._database.write(accounts.alter_tenant, tenant_id, change, self._clock())

    async def add_key(self, key_hash: bytes, key: ApiKey) -> None:
        """Adds a key; NotFound where there is no such tenant."""
        await self._database.write(accounts.add_key, key_hash, key)

    async def revoke_key(self, key_id: str) -> None:
        """Ends a key for good; NotFound where there is no valid one of that id."""
        await self._database.write(accounts.revoke_key, key_id, self._clock())

    async def keys(self) -> tuple[ApiKey, ...]:
        """Every key, oldest first."""
        return await self._database.read(accounts.list_keys)

    async def keys_made(self) -> int:
        """How many keys were ever made, revoked ones among them."""
        return await self._database.read(accounts.keys_made)

    async def valid_keys(self) -> int:
        """How many keys are not revoked."""
        return await self._database.read(accounts.valid_keys)

    # ── upkeep ───────────────────────────────────────────────────────────────────────────────────

    async def due(self) -> upkeep.Due:
        """What is to go since its time is over."""
        return await self._database.survey(upkeep.due, self._clock())

    async def totals(self) -> tuple[int, int]:
        """How many assets there are, and their bytes."""
        return await self._database.survey(upkeep.totals)

    async def pinned(self) -> tuple[int, int]:
        """How many living assets no eviction takes, and their bytes."""
        return await self._database.survey(upkeep.pinned, self._clock())

    async def expire_assets(self, most: int) -> Removed:
        """Removes at most so many assets that no use keeps any more."""
        return await self._database.write(upkeep.expire_assets, self._clock(), most)

    async def expire_blobs(self, most: int) -> tuple[Blob, ...]:
        """Forgets at most so many copies whose time is over; the blobs to delete next."""
        return await self._database.write(upkeep.expire_blobs, self._clock(), most)

    async def end_uses(self, most: int) -> upkeep.Ended:
        """Deletes at most so many uses whose time is over, with the copies that lie there for them alone."""
        return await self._database.write(upkeep.end_uses, self._clock(), most)

    async def evict(self, most: int, excess: int) -> Removed:
        """Removes what was not used for the longest time and is not pinned: at most so many assets, and no more than
        `excess` bytes ask for."""
        return await self._database.write(upkeep.evict, self._clock(), most, excess)

    async def invalidate(self, which: Selection, after: int, most: int) -> tuple[Removed, int | None]:
        """Removes at most so many of the selected assets, with ids above `after`; and tells where to go on, None at
        the end."""
        return await self._database.write(upkeep.invalidate, which, after, most, self._clock())

    async def selected(self, which: Selection) -> int:
        """How many assets are selected."""
        return await self._database.survey(upkeep.selected, which)

    async def named(self, storage: str, paths: Sequence[str]) -> set[str]:
        """Those of the paths in a storage that a row names."""
        return await self._database.read(upkeep.named, storage, paths)

    async def note_in_use(self) -> None:
        """Says that the catalog is in use: to be said every `silences.EVERY` seconds."""
        await self._database.write(silences.note, self._clock())

    async def silences(self) -> Sequence[tuple[float, float]]:
        """From when and to when nobody said so: what landed then, landed in another copy of this catalog."""
        return await self._database.read(silences.all_of, self._clock())

    async def claim(self, name: str, every: float) -> bool:
        """Whether it is this process that does what any is to do once in `every` seconds."""
        return await self._database.write(upkeep.claim, name, every, self._clock())

    # ── figures ──────────────────────────────────────────────────────────────────────────────────

    async def flush(
        self,
        counted: Mapping[UsageKey, UsageCount],
        served: Mapping[bytes, int],
        tiers: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """Adds usage, and hits by content hash, that were counted in memory; lets what was served be kept for longer,
        where its uses, or the storages in `tiers` (seconds by name), say so."""
        await self._database.write(_flush, counted, served, tiers, self._clock())

    async def statistics(self, tenant: str | None = None) -> Statistics:
        """What is kept and counted, of one tenant or of all."""
        return census_of(await self.censuses.count()).of(tenant)

    async def newest_change(self) -> int:
        """The change log's newest number; 0 where it is empty."""
        rows = await self._database.look_up(changes.NEWEST, {})
        return rows[0][0] or 0

    async def prove(self) -> None:
        """Writes something that does not stay. CatalogError where nothing can be written."""
        objection = (await self._database.examine()).objection
        if objection is not None:
            raise objection

    async def changes_since(self, sequence: int) -> Sequence[Change]:
        """The entries after one, oldest first, at most a thousand."""
        return changes.changes_of(await self._database.look_up(changes.SINCE, {"sequence": sequence}))

    def on_change(self, heed: Callable[[], None]) -> None:
        """Has `heed` called whenever this process has added to the change log."""
        self._database.grew = heed

    async def secret(self, name: str) -> str:
        """This catalog's secret of that name, made at first use."""
        return await self._database.write(leases.plant, f"secret:{name}", secrets.token_urlsafe(32))

    async def identity(self) -> str:
        """This catalog's id, which its blobs carry."""
        if self._identity is None:
            self._identity = await self._database.write(leases.plant, "catalog", secrets.token_hex(8))
        return self._identity

    async def aclose(self) -> None:
        """Frees the database. Called once, last."""
        await self._database.aclose()

    def _living(self, found: Sequence[Asset]) -> tuple[Asset, ...]:
        now = self._clock()
        return tuple(asset for asset in found if asset.lives(now))


def _flush(
    connection: Connection,
    counted: Mapping[UsageKey, UsageCount],
    served: Mapping[bytes, int],
    tiers: Mapping[str, float],
    now: float,
) -> None:
    usage.add(connection, counted)
    assets.touch(connection, served, now)
    names = sorted(served)
    for first in range(0, len(names), _BATCH):
        assets.slide(connection, names[first : first + _BATCH], tiers, now)
    leases.tidy(connection, now)
    sessions.tidy(connection, now)
    changes.trim(connection, now - CHANGES_STAY)
