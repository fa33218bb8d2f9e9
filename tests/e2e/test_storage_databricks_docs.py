"""The page on volumes of Databricks is so, as far as a stand-in can tell."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sayonce.access import keys
from sayonce.access.callers import Role
from sayonce.catalog.records import Tenant
from sayonce.errors import StorageMisconfigured
from sayonce.storage.databricks import DatabricksStorage
from sayonce.testing.databricks import READ, VOLUME, WRITE, FakeDatabricks
from sayonce.testing.servers import serving
from sayonce.testing.vendors import FakeVendors
from tests.conftest import MakeHouse
from tests.e2e.processes import command, environment

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "storage-databricks.md").read_text(encoding="utf-8")
HOST = "https://dbc-1234.cloud.databricks.com"


def fenced(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def exported(block: str) -> dict[str, str]:
    return dict(re.findall(r"^export (\w+)=(.*)$", block, re.MULTILINE))


def audio(fake: FakeDatabricks) -> list[str]:
    return sorted(path.removeprefix(f"{VOLUME}/") for path in fake.files if path.endswith(".mp3"))


@pytest.fixture
def fake() -> FakeDatabricks:
    return FakeDatabricks()


@pytest.fixture
async def workspace(fake: FakeDatabricks) -> AsyncIterator[str]:
    async with serving(fake) as url:
        yield url


async def test_the_pages_commands(fake: FakeDatabricks, workspace: str, tmp_path: Path) -> None:
    block = fenced("sh")[0].replace(HOST, workspace).replace("your_token", "dapi-service")
    given = exported(block)
    assert set(given) == {"DATABRICKS_HOST", "DATABRICKS_TOKEN", "SAYONCE_STORAGE"}
    [(said, file)] = re.findall(r'^sayonce say "(.*)" --output (\S+)$', block, re.MULTILINE)
    async with serving(FakeVendors()) as vendor:
        env = environment(tmp_path / "data", vendor, **given)
        for outcome in ("miss", "hit"):
            code, out, err = await command("say", said, "--output", str(tmp_path / file), env=env)
            assert (code, outcome in out + err) == (0, True), out + err
        [path] = audio(fake)
        assert re.fullmatch(r"prod/audio/[0-9a-f]{2}/[0-9a-f]{64}-[0-9a-f]{64}\.mp3", path)
    assert fake.files[f"{VOLUME}/{path}"].data == (tmp_path / file).read_bytes()


async def test_the_pages_table_and_its_app(
    fake: FakeDatabricks, workspace: str, tmp_path: Path, make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.people["token-ann"] = "ann"
    fake.volume(ann=(READ, WRITE))
    (tmp_path / "sayonce.toml").write_text(fenced("toml")[0].replace(HOST, workspace))
    monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-service")
    for name, value in exported(fenced("sh")[1]).items():
        monkeypatch.setenv(name, value)
    house = await make_house()
    await house.speak()
    await house.gateway.catalog.put_tenant(Tenant("default"))
    _, key = await keys.create(house.gateway.catalog, "default", "", [Role.SPEAK], lambda: 0.0)
    house.gateway.gate.forget_all()
    script = fenced("python")[0].replace("http://127.0.0.1:8700", house.url).replace("sayonce_your_key", key)
    app: dict[str, Any] = {}
    exec(script, app)
    forwarded = {"X-Forwarded-User": "ann", "X-Forwarded-Access-Token": "token-ann"}
    told = await asyncio.to_thread(app["speak"], "Good morning.", "t1", "m1", forwarded)
    await house.gateway.engine.land_all(30)
    message, plain = sorted(audio(fake), reverse=True)
    assert message == "tts_audio/ann/t1/m1.mp3"
    assert re.fullmatch(r"default/\d{4}/\d\d/[0-9a-f]{64}-[0-9a-f]{64}\.mp3", plain)
    assert {call.who for call in fake.called("PUT", message)} == {"ann"}
    assert {call.who for call in fake.called("PUT", plain)} == {"service"}
    assert len(told) > 1_000


MESSAGES = [
    ({"volume": "/Volumes/main/default/other"}, {}),
    ({}, {"status": 403}),
    ({"token": "dapi-wrong"}, {}),
    ({"token": None, "host": None}, {}),
    ({}, {"status": 400}),
    ({}, {"status": 409, "code": "ALREADY_EXISTS"}),
    ({}, {"status": 200, "text": "<html>", "kind": "text/html"}),
]


async def test_the_pages_messages(
    fake: FakeDatabricks, workspace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of the page's table."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    said = re.findall(r"^\| ([a-z][^|]*?)(?: …)? \| (?!do \|)", PAGE, re.MULTILINE)
    assert len(said) == len(MESSAGES)
    for phrase, (settings, trouble) in zip(said, MESSAGES, strict=True):
        given = {"host": workspace, "token": "dapi-service", "volume": VOLUME} | settings
        table = {name: value for name, value in given.items() if value is not None}
        storage = DatabricksStorage.from_settings("volume", table)
        fake.calm()
        if trouble:
            fake.befall(on="/api/", **trouble)
        with pytest.raises(StorageMisconfigured) as refused:
            await storage.write("a", b"", {})
        assert phrase in refused.value.message
        await storage.aclose()


def test_the_pages_grants() -> None:
    [sql] = fenced("sql")
    for grant in (READ, WRITE, "USE CATALOG", "USE SCHEMA"):
        assert grant in sql
