"""The how-to pages are right as they are written, but for names; and a gateway does right by such a storage."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import httpx
import pytest

from sayonce.settings import load
from sayonce.storage import registry
from sayonce.storage.contract import Storage
from sayonce.testing import azure as azures
from tests.conftest import MakeHouse
from tests.contract.object_stores.places import KEYS, SECRET, AzurePlace, GcsPlace, Place, S3Place

PAGES = Path(__file__).parents[3] / "docs" / "how-to"


def blocks(page: str, language: str, place: Place, **names: str) -> list[str]:
    """A page's blocks of a language, with the names that are right here in place of the page's."""
    text = (PAGES / f"storage-{page}.md").read_text(encoding="utf-8")
    found = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    for written, here in {**names, "my-speech": place.bucket}.items():
        found = [block.replace(written, here) for block in found]
    return found


def exported(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in re.findall(r"^export (\w+)=(.*)$", block, re.MULTILINE):
        monkeypatch.setenv(name, value)


def home() -> Storage:
    """The storage that the settings name."""
    settings = load()
    table = settings.all_storages[settings.storage]
    return registry.make(settings.storage, table.pop("backend"), table)


async def used(storage: Storage, *, addressed: bool = True) -> None:
    await storage.probe()
    await storage.write("a/b.mp3", b"bytes", {"voice": "nova"})
    assert await storage.read("a/b.mp3") == b"bytes"
    assert await storage.metadata("a/b.mp3") == {"voice": "nova"}
    address = await storage.url("a/b.mp3", 60)
    assert (address is not None) is addressed
    if address is not None:
        async with httpx.AsyncClient() as http:
            assert (await http.get(address)).content == b"bytes"
    await storage.delete("a/b.mp3")
    assert [blob async for blob in storage.list()] == []
    await storage.aclose()


async def test_the_page_of_s3(s3: S3Place, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {
        "http://minio:9000": s3.url,
        "https://s3.example.com": s3.url,
        "AKIDEXAMPLE": KEYS["access_key_id"],
        "my-secret": SECRET,
    }
    [table] = blocks("s3", "toml", s3, **names)
    Path("sayonce.toml").write_text(table)
    await used(home())
    Path("sayonce.toml").unlink()
    amazon, own = (block for block in blocks("s3", "sh", s3, **names) if "export" in block)
    exported(amazon, monkeypatch)
    storage: Any = home()
    assert storage.settings.address == f"https://{s3.bucket}.s3.eu-central-1.amazonaws.com"
    assert (await storage.url("a", 60)).startswith(f"{storage.settings.address}/audio/a?X-Amz-")
    monkeypatch.delenv("AWS_REGION")
    exported(own, monkeypatch)
    await used(home(), addressed=False)  # its endpoint is this machine


def test_the_rights_of_the_page_of_s3(s3: S3Place) -> None:
    [policy] = blocks("s3", "json", s3)
    allowed = {action for each in json.loads(policy)["Statement"] for action in each["Action"]}
    assert allowed == {"s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject"}


def test_the_endpoints_of_the_page_of_s3(s3: S3Place) -> None:
    text = (PAGES / "storage-s3.md").read_text(encoding="utf-8")
    endpoints = re.findall(r"\| `(https://\S+)` \|", text)
    assert len(endpoints) == 3
    for endpoint in endpoints:
        storage: Any = s3.storage(endpoint_url=endpoint, public_url=None)
        assert storage.settings.address == f"{endpoint}/{s3.bucket}"


async def test_the_page_of_google(gcs: GcsPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    account = gcs.usual("")["credentials"]
    names = {"/etc/sayonce/account.json": account, "https://storage.googleapis.com": gcs.url}
    [table] = blocks("gcs", "toml", gcs, **names)
    Path("sayonce.toml").write_text(table)
    await used(home(), addressed=False)  # its server is this machine
    Path("sayonce.toml").unlink()
    [variables] = [block for block in blocks("gcs", "sh", gcs, **names) if "export" in block]
    exported(variables, monkeypatch)
    address = await home().url("a", 60)
    assert address is not None
    assert address.startswith(f"https://storage.googleapis.com/{gcs.bucket}/audio/a?X-Goog-")


async def test_the_page_of_azure(azure: AzurePlace, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {
        "myaccount": azures.ACCOUNT,
        "bXktc2VjcmV0": azures.KEY,
        "https://cdn.example.com/my-speech": azure.address,
    }
    endpoint = azure.usual("")["options"]["endpoint"]
    [table] = blocks("obstore", "toml", azure, **names)
    Path("sayonce.toml").write_text(f'{table}endpoint = "{endpoint}"\n')
    await used(home())
    Path("sayonce.toml").unlink()
    [variables] = [block for block in blocks("obstore", "sh", azure, **names) if "export" in block]
    exported(variables, monkeypatch)
    address = await home().url("a", 60)
    assert address is not None
    assert address.startswith(f"https://{azures.ACCOUNT}.blob.core.windows.net/{azure.bucket}/audio/a?")


@pytest.mark.parametrize("backend", ["s3", "gcs", "obstore"])
def test_every_setting_is_on_its_page(backend: str) -> None:
    text = (PAGES / f"storage-{backend}.md").read_text(encoding="utf-8")
    storage: Any = registry._load("x", backend)
    assert [name for name in storage.settings_model.model_fields if name not in text] == []
    for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL):
        assert tomllib.loads(block)


# ── the whole ────────────────────────────────────────────────────────────────────────────────────


async def test_a_gateway_before_a_bucket(make_house: MakeHouse, place: Place) -> None:
    """It keeps there what it pays for, serves it from there when it is new, and serves nothing that is another's."""
    table = place.table("/audio") | {"backend": place.backend}
    given: dict[str, Any] = {"storage": "speech", "storages": {"speech": table}, "poll_seconds": 0.05}
    first = await make_house(**given)
    spoken = await first.speak()
    assert (spoken.status, spoken.outcome) == (200, "miss")
    storage = place.storage("/audio")
    [blob] = [blob async for blob in storage.list()]
    assert await storage.read(blob.path) == spoken.audio
    second = await make_house(**given)
    assert (await second.speak()).outcome == "hit"
    assert second.calls == 1
    place.trouble(how="other", meant=lambda asked: asked.startswith("GET"))
    third = await make_house(**given)
    again = await third.speak()
    assert (again.status, again.audio) == (200, spoken.audio)
    assert again.outcome != "hit"
    assert place.calls
    place.trouble(status=503)
    fourth = await make_house(**given)
    assert (await fourth.speak()).audio == spoken.audio
