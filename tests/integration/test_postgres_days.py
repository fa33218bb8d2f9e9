"""Bad days of a catalog in PostgreSQL: killed, restarted, hung, of another version, not there at the start."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sayonce.catalog.tables import SCHEMA_VERSION
from sayonce.cli import app
from sayonce.errors import SchemaMismatch
from sayonce.testing.postgres import PostgresServer, postgres_server
from tests.conftest import Heard, House, MakeHouse, until


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """One of the test's own, which it may kill."""
    with postgres_server() as server:
        yield server


@pytest.fixture
async def house(make_house: MakeHouse, server: PostgresServer) -> House:
    return await make_house(database_url=server.url(), poll_seconds=0.05, flush_seconds=0.05)


async def back(house: House, text: str) -> bool:
    """Whether what is asked for is a hit of the catalog again, and not of memory."""
    house.gateway.hot.clear()
    return (await house.speak(text)).outcome == "hit"


async def test_killed_and_started_again_under_load(house: House, server: PostgresServer) -> None:
    texts = [f"Sentence {n}, which is heard again and again." for n in range(12)]
    for text in texts:
        await house.speak(text)
    heard: list[Heard] = []
    enough = asyncio.Event()

    async def ask(n: int) -> None:
        while not enough.is_set():
            house.gateway.hot.clear()
            heard.append(await house.speak(texts[(n + len(heard)) % len(texts)]))

    asking = [asyncio.create_task(ask(n)) for n in range(4)]
    await until(lambda: len(heard) > 20)
    await asyncio.to_thread(server.stop)
    before = len(heard)
    await until(lambda: len(heard) > before + 20)
    await asyncio.to_thread(server.start)
    await until(lambda: back(house, texts[0]))
    before = len(heard)
    await until(lambda: len(heard) > before + 20)
    enough.set()
    await asyncio.gather(*asking)
    assert {answer.status for answer in heard} == {200}
    assert {answer.outcome for answer in heard[-10:]} <= {"hit", "joined"}
    assert await house.rows() == len(texts)


async def test_what_was_spoken_meanwhile_is_kept_when_it_is_back(house: House, server: PostgresServer) -> None:
    await house.speak("A first word, so that the gate is known to be open.")
    await asyncio.to_thread(server.stop)
    first = await house.speak("Said while nobody could note it.")
    assert (first.status, first.outcome) == (200, "bypass")
    await asyncio.to_thread(server.start)

    async def kept() -> bool:
        return (await house.speak("Said while nobody could note it.")).outcome == "hit"

    await until(kept)
    assert (house.calls, await house.rows()) == (2, 2)


async def test_what_is_yet_to_be_kept_is_not_said_to_be_nowhere(
    house: House, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def later() -> None:
        pass

    async def told() -> int:
        return (await house.http.get(f"/api/voice/{spoken.headers['x-content-hash']}")).status_code

    await house.speak("A first word, so that the gate is known to be open.")
    await asyncio.to_thread(server.stop)
    spoken = await house.speak("Said while nobody could note it.")
    with monkeypatch.context() as patched:
        patched.setattr(house.gateway.engine, "keep_unkept", later)
        await asyncio.to_thread(server.start)
        assert await until(lambda: _but(503, told)) == 202
    assert await until(lambda: _but(202, told)) == 200


async def _but(status: int, told: Callable[[], Awaitable[int]]) -> int | None:
    found = await told()
    return None if found == status else found


async def test_hung_it_keeps_nobody_waiting_for_long(house: House, server: PostgresServer) -> None:
    await house.speak("Known before.")
    server.pause()
    try:
        assert (await house.speak("Known before.")).outcome == "hit", "memory waits for nobody"
        assert (await house.speak("Never heard of.")).status == 200
        others = await asyncio.gather(*(house.speak(f"Nor of this: {n}.") for n in range(5)))
        assert {(answer.status, answer.outcome) for answer in others} == {(200, "bypass")}
    finally:
        server.resume()
    await until(lambda: back(house, "Known before."))


async def test_it_may_come_after_the_gateway(make_house: MakeHouse, server: PostgresServer) -> None:
    await asyncio.to_thread(server.stop)
    house = await make_house(database_url=server.url(), poll_seconds=0.05)
    assert (await house.speak()).status == 503, "nobody knows whether keys were made"
    parts = (await house.http.get("/api/health")).json()["parts"]
    assert parts["catalog"] == "catalog_unavailable"
    await asyncio.to_thread(server.start)

    async def heard() -> bool:
        return (await house.speak()).outcome == "miss"

    await until(heard)
    assert (await house.speak()).outcome == "hit"


@pytest.mark.parametrize(("version", "remedy"), [("0002", "sayonce db upgrade"), ("9999", "newer version")])
async def test_another_versions_schema_is_left_alone(
    make_house: MakeHouse, postgres: str, postgres_server: PostgresServer, version: str, remedy: str
) -> None:
    await make_house(database_url=postgres)
    name = postgres.partition("@/")[2].partition("?")[0]
    postgres_server.run(f"UPDATE alembic_version SET version_num = '{version}'", name)
    with pytest.raises(SchemaMismatch, match=remedy) as refused:
        await make_house(database_url=postgres)
    assert version in refused.value.message
    assert SCHEMA_VERSION in refused.value.message


def command(*arguments: str, **variables: Any) -> tuple[int, str]:
    ran = CliRunner().invoke(app, arguments, env={name: str(value) for name, value in variables.items()})
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    return ran.exit_code, ran.output


def test_the_commands(postgres: str, tmp_path: Path) -> None:
    for url in (postgres, f"sqlite:///{tmp_path}/other.db"):
        assert command("db", "upgrade", DATABASE_URL=url)[0] == 0
        code, told = command("db", "current", DATABASE_URL=url)
        assert (code, told.split()[0]) == (0, SCHEMA_VERSION)


def test_an_older_one_is_upgraded(postgres: str, postgres_server: PostgresServer) -> None:
    name = postgres.partition("@/")[2].partition("?")[0]
    command("db", "upgrade", DATABASE_URL=postgres)
    postgres_server.run(
        "DROP INDEX ix_assets_until, ix_assets_used_at, ix_blobs_until, ix_uses_keep_until, ix_uses_unmade, "
        "ix_blobs_asset_storage_path; DROP TABLE stored, sessions, collections; DROP SEQUENCE fences; "
        "ALTER TABLE tenants DROP COLUMN voice, DROP COLUMN greeting; "
        "ALTER TABLE uses DROP COLUMN sliding, DROP COLUMN storage, DROP COLUMN path, DROP COLUMN due, "
        "DROP COLUMN failure; CREATE INDEX ix_blobs_asset ON blobs (asset); "
        "UPDATE alembic_version SET version_num = '0003'",
        name,
    )
    assert command("db", "current", DATABASE_URL=postgres)[0] == 1
    assert command("db", "upgrade", DATABASE_URL=postgres)[0] == 0
    assert command("db", "current", DATABASE_URL=postgres)[0] == 0


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://x/y", "no database that sayonce knows"),
        ("postgresql://u:secret@h:port/x", "cannot be read"),
        ("sqlite://", "names no file"),
    ],
)
def test_addresses_that_are_none(url: str, says: str) -> None:
    with pytest.raises(Exception, match=says) as refused:
        command("db", "current", DATABASE_URL=url)
    assert "secret" not in str(refused.value)


def test_nothing_of_the_address_is_told_but_where_it_is() -> None:
    with pytest.raises(Exception, match="does not answer") as refused:
        command("db", "current", DATABASE_URL="postgresql://ann:secret@127.0.0.1:1/x?password=secret2")
    assert "postgresql://127.0.0.1:1/x" in str(refused.value)
    assert "secret" not in json.dumps(str(refused.value))
