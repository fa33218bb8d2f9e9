"""With whose credentials a volume is asked, and what becomes of them."""

from __future__ import annotations

import asyncio
import logging
from itertools import pairwise
from pathlib import Path

import pytest

from sayonce.errors import (
    BlobNotFound,
    CallerRefused,
    StorageMisconfigured,
    StorageUnavailable,
)
from sayonce.storage import remote
from sayonce.storage.contract import Storage
from sayonce.testing.databricks import CLIENT_ID, CLIENT_SECRET, READ, VOLUME, WRITE, FakeDatabricks
from sayonce.testing.storages import TOLD
from sayonce.testing.waiting import until
from tests.contract.databricks.conftest import Make, causes, forwarding, paths

# ── who calls ────────────────────────────────────────────────────────────────────────────────────


async def test_two_callers_at_once_each_with_their_own(people: FakeDatabricks, make: Make) -> None:
    storage = make()

    async def all_of_it(who: str) -> None:
        with forwarding(f"token-{who}"):
            for n in range(5):
                await storage.write(f"{who}/{n}", who.encode(), TOLD)
                assert await storage.read(f"{who}/{n}") == who.encode()
                assert await storage.metadata(f"{who}/{n}") == TOLD
                assert f"{who}/{n}" in await paths(storage, f"{who}/")
                await storage.delete(f"{who}/{n}")
            await storage.write(f"{who}/last", b"", {})

    await asyncio.gather(all_of_it("ann"), all_of_it("bob"))
    await storage.write("service/last", b"", {})
    for who in ("ann", "bob", "service"):
        named = {call.who for call in people.called(path=f"{VOLUME}/{who}")}
        assert named == {who}, f"only {who} touches {who}'s"
    turns = [call.who for call in people.calls if call.who in ("ann", "bob")]
    assert any(one != other for one, other in pairwise(turns)), "they did run at once"
    signed = people.called("POST", "create-download-url") + people.called("GET", "/cloud/")
    assert {call.who for call in signed} == {"ann", "bob"}
    assert await paths(storage) == ["ann/last", "bob/last", "service/last"]


async def test_a_callers_token_is_a_second_way_in_no_environment(
    people: FakeDatabricks, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Databricks Apps set a service principal's variables, which the SDK takes for another authentication."""
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", CLIENT_SECRET)
    people.volume(principal=(READ, WRITE), ann=(READ, WRITE))
    storage = make(token=None)
    with forwarding("token-ann"):
        await storage.write("a", b"ann's", {})
    assert {call.who for call in people.calls} == {"ann"}
    people.calls.clear()
    assert await storage.read("a") == b"ann's"
    assert {call.who for call in people.called(path="/fs/")} == {"principal"}


async def test_what_a_caller_may_not_is_said_of_the_caller(people: FakeDatabricks, make: Make) -> None:
    storage = make()
    await storage.write("a", b"bytes", {})
    people.calls.clear()
    with forwarding("token-eve"):
        assert await storage.read("a") == b"bytes"
        with pytest.raises(CallerRefused, match=r"caller forwarded.* WRITE VOLUME"):
            await storage.write("a", b"other", {})
    for token in ("token-new", "token-unknown", "two words", "", "gr\xfcn", "a\nb"):
        with forwarding(token), pytest.raises(CallerRefused, match="caller forwarded") as refused:
            await storage.read("a")
        assert token not in str(refused.value) or not token
    assert not people.called(who="service"), "nobody gets on with what is the service's"
    assert await storage.read("a") == b"bytes"


async def test_callers_clients_are_few_and_known_by_no_token(people: FakeDatabricks, make: Make) -> None:
    storage = make()
    for n in range(70):
        people.people[f"token-{n}"] = "ann"
        with forwarding(f"token-{n}"):
            await storage.delete("a")
    known = storage._clients._callers
    assert (len(known), {len(name) for name in known}) == (64, {32})
    assert "token-69" not in repr(known)


async def test_no_token_in_what_is_logged(
    people: FakeDatabricks, make: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("DATABRICKS_DEBUG_HEADERS", "true")
    storage = make()
    with forwarding("token-ann"):
        await storage.write("a", b"blob-bytes", {"secret": "of-the-blob"})
        assert await storage.read("a") == b"blob-bytes"
        await storage.metadata("a")
        await paths(storage)
    with forwarding("token-unknown"), pytest.raises(CallerRefused) as refused:
        await storage.read("a")
    logged = [record.getMessage() for record in caplog.records if not record.name.startswith("uvicorn")]
    everything = " ".join([*logged, *map(str, causes(refused.value))])
    for secret in ("token-", "dapi-", "blob-bytes", "of-the-blob", "/cloud/"):
        assert secret not in everything
    assert "dapi-" not in repr(vars(storage)) + repr(storage._clients._service)


# ── the service's own credentials ────────────────────────────────────────────────────────────────


async def test_a_profile(fake: FakeDatabricks, make: Make, url: str, tmp_path: Path) -> None:
    (tmp_path / ".databrickscfg").write_text(f"[DEFAULT]\nhost = {url}\ntoken = dapi-service\n")
    fake.people["token-ann"] = "ann"
    fake.volume(ann=(READ, WRITE))
    storage = make(host=None, token=None)
    assert fake.calls == []
    with forwarding("token-ann"):
        await storage.write("a", b"ann's", {})
    assert await storage.read("a") == b"ann's"
    assert {call.who for call in fake.called("PUT")} == {"ann"}
    assert {call.who for call in fake.called("POST")} == {"service"}


async def test_a_service_principal_whose_secret_is_wrong(
    fake: FakeDatabricks, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", "wrong")
    with pytest.raises(StorageMisconfigured, match=r"no credentials .* DATABRICKS_TOKEN"):
        await make(token=None).delete("a")
    assert len(fake.called("POST", "/oidc/v1/token")) == 1


async def test_there_are_none(make: Make, url: str, tmp_path: Path) -> None:
    with pytest.raises(StorageMisconfigured, match="no credentials"):
        await make(host=None, token=None).read("a")
    (tmp_path / ".databrickscfg").write_text("this is no profile")
    with pytest.raises(StorageMisconfigured, match="no credentials"):
        await make(host=None, token=None).read("a")
    (tmp_path / ".databrickscfg").write_text(f"[DEFAULT]\nhost = {url}\nauth_type = external-browser\n")
    with pytest.raises(StorageMisconfigured, match="no credentials") as refused:
        await make(host=None, token=None).read("a")
    assert "browser" in str(causes(refused.value)[-1])


async def test_a_search_for_credentials_that_hangs_is_no_callers_trouble(
    people: FakeDatabricks, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it take the threads, however many wait for its end."""
    monkeypatch.setattr(remote, "_ATTEMPTS", 1)
    storage = make(timeout=0.3)
    with storage._clients._looking:
        told = await asyncio.gather(*(storage.read("a") for _ in range(15)), return_exceptions=True)
        assert {type(each) for each in told} == {StorageUnavailable}
        with forwarding("token-ann"), pytest.raises(BlobNotFound):
            await until(lambda: _answered(storage))
    with pytest.raises(BlobNotFound):
        await until(lambda: _answered(storage))


async def test_a_workspace_that_says_nothing_about_itself(
    fake: FakeDatabricks, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", CLIENT_SECRET)
    fake.volume(principal=(READ, WRITE))
    never = fake.befall(on="/.well-known/", never=True)
    storage = make(token=None, timeout=0.3)
    with pytest.raises(StorageUnavailable):
        await storage.read("a")
    never.times = 0
    with pytest.raises(BlobNotFound):
        await until(lambda: _answered(storage))


async def _answered(storage: Storage) -> bool:
    """Whether a blob could be asked for; the answer is that it is not there."""
    try:
        await storage.read("a")
    except StorageUnavailable:
        return False
    return True
