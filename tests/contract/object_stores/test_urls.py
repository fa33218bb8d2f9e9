"""Addresses that others fetch blobs at: signed, expired, public, and never such as lead nowhere."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest

from sayonce.errors import InvalidSettings
from sayonce.storage.object_store import reachable
from sayonce.testing.servers import serving
from tests.contract.object_stores.places import SECRET, AzurePlace, GcsPlace, Place, S3Place

PATH = "a=b/==c/d.mp3"
ESCAPED = "a%3Db/%3D%3Dc/d.mp3"
WEEK = 604_800


async def fetched(address: str | None, host: str | None = None) -> int | bytes:
    """The bytes, or the status where it is none of success. `host` is whom the request says it is for."""
    assert address is not None
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(address, headers={"host": host} if host else None)
    return answer.content if answer.status_code == 200 else answer.status_code


def lasting(address: str | None) -> int:
    """How long an address is good, in seconds, by its own word."""
    told: dict[str, Any] = {
        name.rpartition("-")[2].lower(): value[0] for name, value in parse_qs(urlsplit(address or "").query).items()
    }
    if "expires" in told:
        return int(told["expires"])
    return int((datetime.fromisoformat(told["se"]) - datetime.fromisoformat(told["st"])).total_seconds())


async def test_a_signed_address(place: Place) -> None:
    storage = place.storage("/p")
    await storage.write(PATH, b"bytes", {"n": "1"})
    await storage.write("other", b"other", {"n": "1"})
    place.troubled.forget()
    address = await storage.url(PATH, 60)
    assert place.calls == []  # it is made here
    assert address is not None
    assert address.startswith(f"{place.address}/p/")
    assert SECRET not in address
    assert await fetched(address) == b"bytes"
    for tampered in (address.replace(address[address.index("/p/") :].partition("?")[0], "/p/other"), address[:-2]):
        assert await fetched(tampered) in (403, 404, 400)
    assert await fetched(address.partition("?")[0]) in (401, 403)


async def test_it_expires(place: Place) -> None:
    storage = place.storage()
    await storage.write(PATH, b"bytes", {"n": "1"})
    address = await storage.url(PATH, 60)
    place.later = timedelta(seconds=50)
    assert await fetched(address) == b"bytes"
    place.later = timedelta(seconds=62)
    assert await fetched(address) in (400, 403)


@pytest.mark.parametrize(("seconds", "whole"), [(0.0, 1), (0.2, 1), (1.0, 1), (59.1, 60), (WEEK, WEEK)])
async def test_whole_seconds_and_no_fewer(place: Place, seconds: float, whole: int) -> None:
    assert lasting(await place.storage().url(PATH, seconds)) == whole


async def test_what_nobody_signs_for(place: Place) -> None:
    assert await place.storage().url(PATH, WEEK + 1) is None


async def test_whether_it_is_there_is_not_asked(place: Place) -> None:
    assert await place.storage().url("not/there.mp3", 60) is not None


async def test_an_address_that_only_this_machine_reaches_is_none(place: Place) -> None:
    assert await place.storage(public_url=None).url(PATH, 60) is None


@pytest.mark.parametrize(
    ("address", "so"),
    [
        *((f"https://{host}/b", True) for host in ("s3.example.com", "10.1.2.3", "[2001:db8::1]", "a.com:9000")),
        *((f"http://{host}/b", False) for host in ("localhost", "a.localhost", "localhost.", "127.0.0.1:9000")),
        *((f"http://{host}/b", False) for host in ("127.9.9.9", "[::1]:9000", "0.0.0.0", "169.254.1.1", "[fe80::1]")),
        *((f"http://{host}/b", False) for host in ("minio:9000", "nas.local", "host.docker.internal")),
    ],
)
def test_what_others_can_reach(address: str, so: bool) -> None:
    assert reachable(address) is so


async def test_none_and_public(place: Place) -> None:
    assert await place.storage(urls="none").url(PATH, 60) is None
    public = place.storage("/p", urls="public", public_url="https://cdn.example.com/audio/")
    assert await public.url(PATH, 60) == f"https://cdn.example.com/audio/p/{ESCAPED}"
    with pytest.raises(InvalidSettings, match="public_url"):
        place.storage(urls="public", public_url=None)


async def test_another_host_from_outside(place: Place) -> None:
    outside = place.address.replace(place.url, "https://speech.example")
    storage = place.storage("/p", public_url=outside)
    await storage.write(PATH, b"bytes", {"n": "1"})
    address = await storage.url(PATH, 60)
    assert address is not None
    assert address.startswith(f"{outside}/p/")
    reached = address.replace("https://speech.example", place.url)
    assert await fetched(reached, host="speech.example") == b"bytes"
    if place.backend != "obstore":  # Azure signs for no host
        assert await fetched(reached) == 403


async def test_lent_keys_sign_too(s3: S3Place, moto: str, stack: AsyncExitStack) -> None:
    front = s3.front(moto, token="lent-for-an-hour")
    stack.push_async_callback(front.aclose)
    async with serving(front) as url:
        storage = s3.storage(endpoint_url=url, public_url=f"{url}/{s3.bucket}", session_token="lent-for-an-hour")
        await storage.write(PATH, b"bytes", {"n": "1"})
        assert await storage.metadata(PATH) == {"n": "1"}
        assert await fetched(await storage.url(PATH, 60)) == b"bytes"


async def test_googles_own_host(gcs: GcsPlace) -> None:
    """There the driver signs, for that host alone."""
    await gcs.storage().write(PATH, b"bytes", {"n": "1"})
    address = await gcs.storage(base_url=None, public_url=None).url(PATH, 60)
    assert address is not None
    assert address.startswith(f"https://storage.googleapis.com/{gcs.bucket}/{ESCAPED}?")
    reached = address.replace("https://storage.googleapis.com", gcs.url)
    assert await fetched(reached, host="storage.googleapis.com") == b"bytes"
    assert await fetched(reached) == 403


async def test_who_has_but_a_signature_cannot_sign(azure: AzurePlace) -> None:
    options = azure.usual("")["options"] | {"sas_key": f"sv=2023-11-03&sig={quote(SECRET)}&se=2030-01-01"}
    del options["account_key"]
    assert await azure.storage(options=options).url(PATH, 60) is None
