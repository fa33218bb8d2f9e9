"""Taking off and landing: one transaction each.

A fence is a number that only rises, over the whole catalog: whoever takes off gets the next. A landing demands
that its fence is still the lease's, so a holder that overslept its lease, or whose recipe was deleted meanwhile,
lands nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, Connection, Text, bindparam, cast, delete, func, insert, select, update

from sayonce.catalog import assets as kept
from sayonce.catalog import changes, locks, placements, wishes
from sayonce.catalog.database import Lookup
from sayonce.catalog.records import (
    MICROS,
    WISHED,
    Asset,
    Blob,
    Held,
    Kept,
    Landing,
    Lease,
    Progress,
    Removed,
    Spent,
    TakeOff,
    Use,
)
from sayonce.catalog.tables import assets, doubts, facts, fences, leases, spending, tenants, uses
from sayonce.catalog.upserts import accumulate, insert_or_nothing
from sayonce.errors import BudgetSpent, FenceLost
from sayonce.speech.requests import Owner

#: How long a failed lease stays for those who waited for it elsewhere, in seconds.
_FAILURE_STAYS = 10.0
#: How long nobody lands what was removed, at most, in seconds.
HOLD = 6.0

#: Where another's flight stands.
PROGRESS = Lookup(
    select(leases.c.fence, leases.c.expires, leases.c.failure, leases.c.refresh).where(
        leases.c.recipe_hash == bindparam("recipe_hash")
    )
)


# What every take-off asks, put together once: building a statement costs more than running it.
_LEASE = select(leases.c.fence, leases.c.expires, leases.c.refresh).where(
    leases.c.recipe_hash == bindparam("recipe_hash")
)
_NEXT_FENCE = (
    update(facts)
    .where(facts.c.name == "fence")
    .values(value=cast(cast(facts.c.value, BigInteger) + 1, Text))
    .returning(facts.c.value)
)
_NEW_LEASE = insert(leases)
_mine = (leases.c.recipe_hash == bindparam("recipe")) & (leases.c.fence == bindparam("mine"))
_RENEWAL = update(leases).where(_mine, leases.c.failure.is_(None)).values(expires=bindparam("later"))
_GIVE_BACK = delete(leases).where(_mine)
_DOUBT = delete(doubts).where(doubts.c.recipe_hash == bindparam("recipe_hash"))
_THERE = select(assets.c.content_hash).where(assets.c.recipe_hash == bindparam("recipe_hash"))
_OLD_LEASE = delete(leases).where(leases.c.recipe_hash == bindparam("recipe_hash"))


def progress_of(rows: Sequence[tuple[Any, ...]]) -> Progress | None:
    """The record of the lookup's rows; None where nobody flies."""
    if not rows:
        return None
    fence, expires, failure, refresh = rows[0]
    return Progress(fence, expires, failure, bool(refresh))


def take_off(connection: Connection, wish: TakeOff, life: float, now: float) -> Lease | Held | Kept:
    """Gives the lease for `life` seconds, unless the recipe is kept or another holds it. BudgetSpent where the
    tenant cannot pay."""
    locks.alone_with_recipe(connection, wish.recipe_hash)
    found = _what_will_do(kept.kept(connection, wish.recipe_hash, now), wish)
    if found:
        return Kept(found)
    recipe = {"recipe_hash": wish.recipe_hash}
    row = connection.execute(_LEASE, recipe).one_or_none()
    if row is not None and row.expires > now:
        return Held(*row)
    _refuse_overspending(connection, wish, now)
    if row is not None:
        connection.execute(_OLD_LEASE, recipe)
    return _lease(connection, wish, life, now)


def renew(connection: Connection, lease: Lease, life: float, now: float) -> Lease:
    """The lease with a new expiry; FenceLost where another holds it now."""
    renewal = {"recipe": lease.recipe_hash, "mine": lease.fence, "later": now + life}
    _demand_one(connection, connection.execute(_RENEWAL, renewal).rowcount)
    return Lease(lease.recipe_hash, lease.fence, now + life)


def land(
    connection: Connection, lease: Lease, asset: Asset, use: Use, spent: Spent | None, *, alone: bool, now: float
) -> Landing:
    """Gives the lease back and keeps the asset; with `alone`, in place of every variant of its recipe. FenceLost
    where the lease is another's by now: then nothing has changed."""
    locks.alone_with_recipe(connection, lease.recipe_hash)
    give_back(connection, lease)
    settle(connection, spent, now)
    recipe = {"recipe_hash": lease.recipe_hash}
    connection.execute(_DOUBT, recipe)
    there = set(connection.execute(_THERE, recipe).scalars())
    orphans: tuple[Blob, ...] = ()
    if alone and there - {asset.content_hash}:
        orphans = kept.remove_variants(connection, asset.recipe_hash, asset.content_hash, now)
    if asset.content_hash in there:
        changes.append(connection, "asset", asset.content_hash.hex(), now)
    claimed = Landing(())
    if use.kind not in ("request", WISHED):
        own = asset.blobs[0]
        use = replace(use, place=(own.storage, own.path))
        claimed = placements.claim(connection, asset.content_hash, own, use, now)
    orphans += claimed.orphans + kept.keep(connection, asset, use)
    free = tuple(blob for blob in orphans if not kept.path_in_use(connection, blob))
    return held(connection, replace(claimed, orphans=free), now)


def attach(connection: Connection, content_hash: bytes, blob: Blob, use: Use, now: float) -> Landing | None:
    """One more blob and use of what is kept; None where it is not kept any more as it was."""
    landing = placements.attach(connection, content_hash, blob, use, now)
    return None if landing is None else held(connection, landing, now)


def held(connection: Connection, landing: Landing, now: float) -> Landing:
    """The same, while nobody lands what is gone so."""
    return replace(landing, holds=hold(connection, landing.gone, now))


def land_unchanged(connection: Connection, lease: Lease, spent: Spent | None, now: float) -> None:
    """Gives the lease back after a refresh that brought the very bytes that are kept."""
    give_back(connection, lease)
    settle(connection, spent, now)


def land_variant(
    connection: Connection, source: Asset, variant: Asset, use: Use, now: float
) -> tuple[Blob, ...] | None:
    """Keeps a transcoded variant while its source is still kept as it was; None where it is not. A variant that
    another process landed first stays."""
    locks.alone_with_recipe(connection, source.recipe_hash)
    living = connection.execute(
        select(func.count()).where(assets.c.content_hash == source.content_hash, assets.c.digest == source.digest)
    ).scalar_one()
    if not living:
        return None
    there = kept.kept(connection, variant.recipe_hash, now)
    if any(asset.content_hash == variant.content_hash for asset in there):
        return tuple(blob for blob in variant.blobs if not kept.path_in_use(connection, blob))
    sliding = select(func.max(uses.c.sliding)).where(uses.c.content_hash == source.content_hash)
    return kept.keep(connection, variant, replace(use, sliding=connection.execute(sliding).scalar_one()))


def release(connection: Connection, lease: Lease, failure: str | None, now: float) -> None:
    """Gives the lease back without a landing. Whoever waits elsewhere finds `failure`, if there is one. Does
    nothing to another's lease."""
    mine = (leases.c.recipe_hash == lease.recipe_hash) & (leases.c.fence == lease.fence)
    if failure is None:
        connection.execute(delete(leases).where(mine))
    else:
        connection.execute(update(leases).where(mine).values(failure=failure, expires=now, reserved_micros=0))


def doubt(connection: Connection, recipe_hash: bytes, now: float) -> None:
    """Notes an implausible answer."""
    connection.execute(insert_or_nothing(connection, doubts, {"recipe_hash": recipe_hash, "at": now}))


def is_doubted(connection: Connection, recipe_hash: bytes) -> bool:
    """Whether an implausible answer was noted before."""
    return connection.execute(select(func.count()).where(doubts.c.recipe_hash == recipe_hash)).scalar_one() > 0


def remove(
    connection: Connection, content_hash: bytes, tenant: str, may: Callable[[Owner], bool], now: float
) -> Removed | None:
    """Deletes the recipe of a content hash, every variant and use of it, and takes the lease of a flight that is
    making it, which so cannot land; what is yet to be made of it will not be. None where there is none of these, or
    it is not `tenant`'s, or not one that `may` be had."""
    flying = _flying(connection, content_hash, tenant)  # asked first: what lands meanwhile is then found as kept
    found = kept.recipe_and_owner(connection, content_hash)
    if found is not None and not (found[1].tenant == tenant and may(found[1])):
        return None
    given_up = wishes.give_up(connection, content_hash, lambda owner: owner.tenant == tenant and may(owner))
    recipe_hash = found[0] if found is not None else flying
    if recipe_hash is None:
        return Removed() if given_up else None
    locks.alone_with_recipe(connection, recipe_hash)
    orphans = kept.remove_recipe(connection, recipe_hash, now)
    changes.append(connection, "recipe", recipe_hash.hex(), now)
    orphans = tuple(blob for blob in orphans if not kept.path_in_use(connection, blob))
    return Removed(orphans=orphans, holds=hold(connection, [recipe_hash], now))


def hold(connection: Connection, recipe_hashes: Collection[bytes], now: float) -> tuple[Lease, ...]:
    """Takes the leases of these recipes, whoever has them, while the bytes of what was removed are deleted: who
    landed the same bytes at the same path meanwhile would lose them."""
    if not recipe_hashes:
        return ()
    connection.execute(delete(leases).where(leases.c.recipe_hash.in_(recipe_hashes)))
    fence, expires = next_fence(connection), now + HOLD
    row = {"content_hash": b"", "fence": fence, "holder": "removal", "tenant": "", "refresh": False, "failure": None}
    row |= {"reserved_micros": 0, "expires": expires}
    connection.execute(_NEW_LEASE, [row | {"recipe_hash": recipe_hash} for recipe_hash in recipe_hashes])
    return tuple(Lease(recipe_hash, fence, expires) for recipe_hash in recipe_hashes)


def let_go(connection: Connection, holds: Collection[Lease]) -> None:
    """Gives back what `hold` took."""
    for fence in {each.fence for each in holds}:
        held = [each.recipe_hash for each in holds if each.fence == fence]
        connection.execute(delete(leases).where(leases.c.recipe_hash.in_(held), leases.c.fence == fence))


def tidy(connection: Connection, now: float) -> None:
    """Deletes what is left of leases that ended long ago."""
    connection.execute(delete(leases).where(leases.c.expires < now - _FAILURE_STAYS))


def settle(connection: Connection, spent: Spent | None, now: float) -> None:
    """Adds a generation's cost to what its tenant has spent this month."""
    if spent is not None and spent.cost:
        row = {"tenant": spent.tenant, "month": month(now), "spent_micros": spent.cost}
        connection.execute(accumulate(connection, spending, key=["tenant", "month"], add=["spent_micros"]), [row])


def month(now: float) -> str:
    """The month of a moment, as budgets name it: `2026-11`."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m")


def _what_will_do(found: tuple[Asset, ...], wish: TakeOff) -> tuple[Asset, ...]:
    if not wish.any_format:
        found = tuple(asset for asset in found if asset.content_hash == wish.content_hash)
    if wish.refresh:
        since = wish.since
        found = tuple(asset for asset in found if since is not None and asset.made_at >= since)
    return found


def _refuse_overspending(connection: Connection, wish: TakeOff, now: float) -> None:
    if wish.estimate == 0:
        return
    own = connection.execute(select(tenants.c.budget).where(tenants.c.id == wish.tenant)).scalar_one_or_none()
    budget = wish.budget if own is None else own
    if budget is None:
        return
    locks.alone_with_budget(connection, wish.tenant)
    if _spent_and_reserved(connection, wish.tenant, now) + wish.estimate > budget * MICROS:
        raise BudgetSpent(
            f"The month's budget of {budget:.2f} does not cover this.",
            remedy="What is kept is still served; raise the tenant's budget to have new texts spoken.",
        )


def _spent_and_reserved(connection: Connection, tenant: str, now: float) -> int:
    """In one statement, so that a landing is on one side of it."""
    spent = (
        select(func.sum(spending.c.spent_micros))
        .where(spending.c.tenant == tenant, spending.c.month == month(now))
        .scalar_subquery()
    )
    reserved = (
        select(func.sum(leases.c.reserved_micros))
        .where(leases.c.tenant == tenant, leases.c.expires > now)
        .scalar_subquery()
    )
    total = select(func.coalesce(spent, 0) + func.coalesce(reserved, 0))
    return int(connection.execute(total).scalar_one())


def _lease(connection: Connection, wish: TakeOff, life: float, now: float) -> Lease:
    fence = next_fence(connection)
    row = {
        "recipe_hash": wish.recipe_hash,
        "content_hash": wish.content_hash,
        "fence": fence,
        "holder": wish.holder,
        "tenant": wish.tenant,
        "refresh": wish.refresh,
        "reserved_micros": wish.estimate,
        "expires": now + life,
        "failure": None,
    }
    connection.execute(_NEW_LEASE, row)
    return Lease(wish.recipe_hash, fence, now + life)


def next_fence(connection: Connection) -> int:
    """A number higher than any before it."""
    counted = fences.next_value() if connection.dialect.supports_sequences else None
    return int(connection.execute(_NEXT_FENCE if counted is None else select(counted)).scalar_one())


def give_back(connection: Connection, lease: Lease) -> None:
    """Ends a lease that is still its holder's; FenceLost where it is another's."""
    given = connection.execute(_GIVE_BACK, {"recipe": lease.recipe_hash, "mine": lease.fence})
    _demand_one(connection, given.rowcount)


def _demand_one(connection: Connection, rows: int) -> None:
    if rows != 1:
        raise FenceLost(
            "The lease passed to another holder, or its recipe was deleted; nothing was kept.",
            backend=connection.dialect.name,
        )


def _flying(connection: Connection, content_hash: bytes, tenant: str) -> bytes | None:
    found: bytes | None = connection.execute(
        select(leases.c.recipe_hash).where(leases.c.content_hash == content_hash, leases.c.tenant == tenant)
    ).scalar_one_or_none()
    return found


def plant(connection: Connection, name: str, value: str) -> str:
    """A fact's value, which is `value` if it had none yet."""
    connection.execute(insert_or_nothing(connection, facts, {"name": name, "value": value}))
    planted: str = connection.execute(select(facts.c.value).where(facts.c.name == name)).scalar_one()
    return planted
