"""Limits, the allowance, signatures, and the gate on a real catalog."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sayonce.access import keys
from sayonce.access.allowance import Allowance
from sayonce.access.callers import Caller, Role
from sayonce.access.gate import Gate
from sayonce.access.limits import RateLimits
from sayonce.access.loopback import is_loopback, refuse_open_doors
from sayonce.access.urls import UrlSigner
from sayonce.catalog.catalog import Catalog
from sayonce.catalog.records import Tenant
from sayonce.catalog.sqlite import SqliteDatabase
from sayonce.errors import BudgetSpent, Forbidden, InvalidSettings, NotFound, RateLimited, Unauthenticated


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def catalog(tmp_path: Path) -> AsyncIterator[Catalog]:
    catalog = Catalog(SqliteDatabase(tmp_path / "catalog.db"), time.time)
    yield catalog
    await catalog.aclose()


def test_a_bucket_fills_as_time_passes(clock: Clock) -> None:
    limits = RateLimits(2.0, 3.0, clock)
    tenant = Tenant("a")
    for _ in range(3):
        limits.take(tenant)
    with pytest.raises(RateLimited) as refused:
        limits.take(tenant)
    assert refused.value.retry_after == pytest.approx(0.5)
    clock.now += 0.5
    limits.take(tenant)
    with pytest.raises(RateLimited):
        limits.take(tenant)
    clock.now += 3_600
    for _ in range(3):
        limits.take(tenant)
    with pytest.raises(RateLimited):
        limits.take(tenant)


def test_a_tenants_own_limit_goes_first_and_tenants_do_not_share(clock: Clock) -> None:
    limits = RateLimits(1.0, 1.0, clock)
    limits.take(Tenant("a"))
    limits.take(Tenant("b"))
    rich = Tenant("c", rate=10.0, burst=5.0)
    for _ in range(5):
        limits.take(rich)
    with pytest.raises(RateLimited):
        limits.take(rich)


def test_no_limit_is_no_limit(clock: Clock) -> None:
    limits = RateLimits(None, None, clock)
    for _ in range(1_000):
        limits.take(Tenant("a"))


def test_the_allowance_is_by_the_hour(clock: Clock) -> None:
    allowance = Allowance(100, 1.0, clock)
    allowance.spend(60, None)
    allowance.spend(10_000, 0.0)  # the local voice
    with pytest.raises(BudgetSpent):
        allowance.spend(60, None)
    with pytest.raises(BudgetSpent):
        allowance.spend(1, 1.5)
    clock.now += 3_600
    allowance.spend(60, 0.5)


paths = st.text(min_size=1, max_size=20)


@given(paths, paths)
def test_a_signature_is_for_its_path_and_version_alone(one: str, other: str) -> None:
    signer = UrlSigner("secret", lambda: 1_000.0)
    query = dict(part.split("=", 1) for part in signer.sign("/audio/a.mp3", "abc", 60).split("&"))
    assert signer.accepts("/audio/a.mp3", query["v"], query["exp"], query["sig"])
    assert not signer.accepts("/audio/a.mp3" + one, query["v"], query["exp"], query["sig"])
    assert not signer.accepts("/audio/a.mp3", query["v"] + other, query["exp"], query["sig"])
    assert not signer.accepts("/audio/a.mp3", query["v"], query["exp"] + "0", query["sig"])
    assert not signer.accepts("/audio/a.mp3", query["v"], query["exp"], one)
    assert not UrlSigner("other", lambda: 1_000.0).accepts("/audio/a.mp3", query["v"], query["exp"], query["sig"])
    assert not UrlSigner("secret", lambda: 1_060.0).accepts("/audio/a.mp3", query["v"], query["exp"], query["sig"])


@pytest.mark.parametrize("expires", ["", "-1", "1e9", "９９９９", "9" * 400, "0x10", " 99"])
def test_expiries_that_are_none(expires: str) -> None:
    assert not UrlSigner("secret", lambda: 0.0).accepts("/a", "v", expires, "0" * 64)


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("localhost", True),
        ("app.localhost.", True),
        ("127.0.0.1", True),
        ("127.255.0.1", True),
        ("[::1]", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.nip.io", False),
        ("2130706433", False),
        ("", False),
    ],
)
def test_whose_name_it_is(host: str, own: bool) -> None:
    assert is_loopback(host) is own


def test_an_open_gateway_listens_to_nobody_else() -> None:
    refuse_open_doors("127.0.0.1", 0)
    refuse_open_doors("0.0.0.0", 1)
    with pytest.raises(InvalidSettings, match="sayonce keys create"):
        refuse_open_doors("0.0.0.0", 0)


async def test_a_key_is_shown_once_and_known_by_its_hash(catalog: Catalog, tmp_path: Path) -> None:
    row, key = await keys.create(catalog, "default", "mine", [Role.SPEAK], time.time)
    assert key.startswith("sayonce_")
    assert len(key) > 45
    assert [found.id for found in await catalog.keys()] == [row.id]
    await catalog.statistics()
    assert key.encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


async def test_the_gate(catalog: Catalog, clock: Clock) -> None:
    gate = Gate(catalog, clock, memory=300, guarded=False)
    assert (await gate.admit(None)).tenant.id == "default"
    assert gate.open
    assert gate.recognise("anything") is not None
    row, key = await keys.create(catalog, "default", "", [Role.SPEAK], time.time)
    gate.forget(key_id="")
    with pytest.raises(Unauthenticated):
        await gate.admit("anything")
    caller = await gate.admit(key)
    assert caller.key_id == row.id
    gate.forget(key_id="another", tenant="another")
    assert gate.recognise(key) == caller
    gate.forget(key_id=row.id)
    assert gate.recognise(key) is None
    assert await gate.admit(key) == caller
    with pytest.raises(Forbidden, match="share"):
        caller.demand(Role.SHARE)
    clock.now += 61
    assert gate.recognise(key) is None  # it is asked for again
    await catalog.revoke_key(row.id)
    with pytest.raises(Unauthenticated):
        await gate.admit(key)
    with pytest.raises(NotFound):
        await catalog.revoke_key(row.id)


async def test_a_disabled_tenant_is_shut_out(catalog: Catalog, clock: Clock) -> None:
    await catalog.put_tenant(Tenant("acme"))
    _, key = await keys.create(catalog, "acme", "", [Role.SPEAK], time.time)
    gate = Gate(catalog, clock, memory=300, guarded=False)
    assert (await gate.admit(key)).tenant.id == "acme"
    await catalog.put_tenant(Tenant("acme", disabled=True))
    gate.forget(tenant="acme")
    with pytest.raises(Forbidden, match="disabled"):
        await gate.admit(key)
    with pytest.raises(NotFound):
        await keys.create(catalog, "nobody", "", [Role.SPEAK], time.time)


def test_a_callers_own() -> None:
    from sayonce.speech.requests import Owner, Scope

    caller = Caller(Tenant("a"), frozenset({Role.SPEAK}))
    assert caller.may_have(Owner("b", Scope.SHARED), None, None)
    assert caller.may_have(Owner("a"), None, None)
    assert not caller.may_have(Owner("b"), None, None)
    assert caller.may_have(Owner("a", Scope.USER, user="u"), "u", None)
    assert not caller.may_have(Owner("a", Scope.USER, user="u"), None, "u")
    assert not caller.may_have(Owner("a", Scope.SESSION, session="s"), "s", None)
    assert not caller.may_have(Owner("b", Scope.SESSION, session="s"), None, "s")
