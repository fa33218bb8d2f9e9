"""Tables and keys that others keep audio in, as the seeds had them."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy import Connection, text

from sayonce.batch.sources import table as tables
from sayonce.batch.sources.elsewhere import Addresses, Paths
from sayonce.batch.sources.keys import RedisKeys
from sayonce.batch.sources.table import SqlTable
from sayonce.catalog.registry import connect
from sayonce.errors import InvalidRequest
from sayonce.speech.formats import OPUS
from sayonce.testing.redis import RedisServer
from sayonce.testing.servers import serving
from tests.conftest import House
from tests.integration.importing.conftest import TEXT, bring, counted, recording

COLUMNS = {"text": "content_text", "voice": "voice", "data": "audio_data"}
MOST = 10_000_000


class Theirs:
    """A database of somebody else's, on either engine."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._database = connect(url)
        self._bytes = "BLOB" if url.startswith("sqlite") else "BYTEA"

    async def run(self, statement: str, *rows: Mapping[str, Any]) -> None:
        def work(connection: Connection) -> None:
            connection.execute(text(statement.replace("BYTES", self._bytes)), list(rows) or None)

        await self._database.write(work)

    async def cache(self, many: int) -> None:
        """The seed's `tts_cache`."""
        await self.run(
            "CREATE TABLE tts_cache (id INTEGER PRIMARY KEY, content_text TEXT, voice TEXT, audio_data BYTES,"
            " created_at TEXT)"
        )
        rows = [
            {"id": 3 * n, "said": f"{TEXT} {n}", "voice": "nova", "data": recording(f"{TEXT} {n}")}
            for n in range(many)
        ]
        await self.run("INSERT INTO tts_cache VALUES (:id, :said, :voice, :data, NULL)", *rows)

    async def aclose(self) -> None:
        await self._database.aclose()


@pytest.fixture(params=["sqlite", "postgresql"])
async def theirs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Theirs]:
    if request.param == "sqlite":
        there = Theirs(f"sqlite:///{tmp_path}/theirs.db")
    else:
        there = Theirs(request.getfixturevalue("postgres"))
    yield there
    await there.aclose()


def cache_of(theirs: Theirs, columns: Mapping[str, str] = COLUMNS, name: str = "tts_cache", **how: Any) -> SqlTable:
    return SqlTable(theirs.url, name, columns, how.pop("fetchers", {}), how.pop("most", MOST))


# ── tables ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_table_with_the_audio_in_it(house: House, theirs: Theirs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_PAGE", 4)
    monkeypatch.setattr(tables, "_PAGE_BYTES", 3 * len(recording(f"{TEXT} 1")))
    await theirs.cache(10)
    source = cache_of(theirs)
    assert await source.count() == 10
    assert counted(await bring(house, source, format="mp3")) == {"imported": 10}
    heard = [await house.speak(f"{TEXT} {n}") for n in range(10)]
    assert [(each.outcome, each.audio) for each in heard] == [("hit", recording(f"{TEXT} {n}")) for n in range(10)]
    assert house.calls == 0
    assert counted(await bring(house, cache_of(theirs), format="mp3")) == {"known": 10}


async def test_wrong_rows_of_a_table_are_told_by_their_keys(house: House, theirs: Theirs) -> None:
    await theirs.cache(3)
    await theirs.run("UPDATE tts_cache SET audio_data = NULL WHERE id = 0")
    await theirs.run("UPDATE tts_cache SET content_text = NULL WHERE id = 3")
    await theirs.run("INSERT INTO tts_cache VALUES (7, 'Too large.', 'nova', :data, NULL)", {"data": b"x" * 40_000})
    report = await bring(house, cache_of(theirs, most=30_000), format="mp3")
    assert report.refused == [
        ("id 0", "it has no audio."),
        ("id 7", "its 40,000 bytes are more than 30,000. Raise SAYONCE_MAX_AUDIO."),
        ("id 3", "nothing tells its text."),
    ]
    assert counted(report) == {"imported": 1, "refused": 3}


async def test_a_table_with_two_keys(house: House, theirs: Theirs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_PAGE", 2)
    await theirs.run("CREATE TABLE said (book TEXT, page INTEGER, said TEXT, audio BYTES, PRIMARY KEY (book, page))")
    rows = [(book, page) for book in ("a", "b") for page in range(3)]
    data = [{"b": b, "p": p, "s": f"{b} {p}, {TEXT}", "d": recording(f"{b} {p}, {TEXT}")} for b, p in rows]
    await theirs.run("INSERT INTO said VALUES (:b, :p, :s, :d)", *data)
    source = cache_of(theirs, {"text": "said", "data": "audio"}, "said")
    assert counted(await bring(house, source, format="mp3", voice="nova")) == {"imported": 6}


async def test_a_table_that_names_paths_of_a_storage(house: House, theirs: Theirs) -> None:
    storage = house.gateway.storages["local"]
    await storage.write("books/1.opus", recording(audio_format=OPUS), {})
    await theirs.run("CREATE TABLE book_audio (id INTEGER PRIMARY KEY, passage TEXT, storage_path TEXT)")
    paths = ["books/1.opus", "books/2.opus", "../outside.opus", None]
    rows = [{"id": n, "said": f"{TEXT}{'!' * n}", "path": path} for n, path in enumerate(paths)]
    await theirs.run("INSERT INTO book_audio VALUES (:id, :said, :path)", *rows)
    columns = {"text": "passage", "path": "storage_path"}
    source = cache_of(theirs, columns, "book_audio", fetchers={"path": Paths(storage).fetch})
    report = await bring(house, source, voice="nova")
    assert (counted(report), [place for place, _ in report.refused]) == (
        {"imported": 1, "refused": 3},
        ["id 1", "id 2", "id 3"],
    )
    heard = await house.speak(TEXT, response_format="opus")
    assert (heard.outcome, heard.audio, house.calls) == ("hit", recording(audio_format=OPUS), 0)


async def _web(scope: Any, receive: Any, send: Any) -> None:
    body = {"/a.mp3": recording(), "/large.mp3": b"x" * 200_000}.get(scope["path"], b"")
    await send({"type": "http.response.start", "status": 200 if body else 404, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def test_a_table_that_names_addresses(house: House, theirs: Theirs) -> None:
    await theirs.run("CREATE TABLE book_audio (id INTEGER PRIMARY KEY, passage TEXT, audio_url TEXT)")
    addresses = Addresses(100_000)
    async with serving(_web) as url:
        urls = [f"{url}/a.mp3?sig=SECRET", f"{url}/gone.mp3?sig=SECRET", f"{url}/large.mp3", "file:///etc/passwd"]
        urls += ["http://127.0.0.1:1/a.mp3", "http://[::bad/a.mp3"]
        rows = [{"id": n, "said": f"{TEXT}{'!' * n}", "url": each} for n, each in enumerate(urls)]
        await theirs.run("INSERT INTO book_audio VALUES (:id, :said, :url)", *rows)
        columns = {"text": "passage", "url": "audio_url"}
        source = cache_of(theirs, columns, "book_audio", fetchers={"url": addresses.fetch})
        report = await bring(house, source, voice="nova")
    await addresses.aclose()
    assert counted(report) == {"imported": 1, "refused": 5}
    whys = dict(report.refused)
    for n, why in enumerate(["answers with 404", "more than 100,000", "none of http", "does not answer", "not"], 1):
        assert why in whys[f"id {n}"]
    assert "SECRET" not in str(report.refused)


async def test_what_is_no_such_table_is_refused(theirs: Theirs, tmp_path: Path) -> None:
    await theirs.cache(1)
    await theirs.run("CREATE TABLE keyless (content_text TEXT, voice TEXT, audio_data BYTES)")
    for source, why in (
        (cache_of(theirs, name="other"), "There is no table 'other'"),
        (cache_of(theirs, name="keyless"), "has no primary key"),
        (cache_of(theirs, COLUMNS | {"text": "words"}), "has no column 'words'"),
    ):
        with pytest.raises(InvalidRequest, match=why):
            await anext(aiter(source.pieces()))
        await source.aclose()
    for columns in ({"text": "content_text"}, COLUMNS | {"txt": "a"}, COLUMNS | {"url": "a"}):
        with pytest.raises(InvalidRequest, match="--column"):
            cache_of(theirs, columns)
    (tmp_path / "no.db").write_bytes(b"This is no database, and was never one. " * 50)
    for url, why in (
        ("nothing", "cannot be read"),
        ("postgresql://nobody:SECRET@127.0.0.1:1/none", "The database cannot be read"),
        (f"sqlite:///{tmp_path}/no.db", "The database cannot be read"),
    ):
        with pytest.raises(InvalidRequest, match=why) as refused:
            await anext(aiter(SqlTable(url, "t", COLUMNS, {}, MOST).pieces()))
        assert "SECRET" not in str(refused.value)


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def keys(redis: RedisServer) -> AsyncIterator[Any]:
    async with Redis.from_url(redis.url()) as link:
        await link.mset({f"tts:nova:{TEXT} {n}": recording(f"{TEXT} {n}") for n in range(30)})
        yield link


async def test_keys_that_say_what_they_hold(house: House, redis: RedisServer, keys: Any) -> None:
    await keys.mset({"other:nova:No.": b"x", "tts:nova:a:b, " + TEXT: recording("a:b, " + TEXT)})
    await keys.lpush("tts:nova:A list.", "x")
    await keys.set(b"tts:nova:\xff\xfe", b"x")
    await keys.set("tts:nova:Not audio.", b"x" * 100)
    await keys.config_resetstat()
    report = await bring(house, RedisKeys(redis.url(), "tts:{voice}:{text}", None, {}, MOST), format="mp3")
    assert counted(report) == {"imported": 31, "refused": 3}
    assert {why.partition(" ")[2] for _, why in report.refused} == {
        "key holds no bytes.",
        "names no key.",
        "is no mp3 audio in mp3.",
    }
    assert "Not audio" not in str(report.refused)
    assert (await house.speak(f"a:b, {TEXT}")).outcome == "hit"
    assert house.calls == 0
    asked = await keys.info("commandstats")
    assert "cmdstat_scan" in asked
    assert "cmdstat_keys" not in asked


async def test_keys_that_a_manifest_names(house: House, redis: RedisServer, keys: Any, tmp_path: Path) -> None:
    await keys.set("tts:5f3a", recording())
    manifest = tmp_path / "keys.csv"
    manifest.write_text(f'cache_key,said,voice\ntts:5f3a,"{TEXT}",nova\ntts:gone,Gone.,nova\n')
    columns = {"key": "cache_key", "text": "said", "voice": "voice"}
    report = await bring(house, RedisKeys(redis.url(), None, manifest, columns, MOST), format="mp3")
    assert (counted(report), report.refused) == (
        {"imported": 1, "refused": 1},
        [("line 3", "there is no such key.")],
    )


async def test_what_is_no_redis_is_refused(tmp_path: Path) -> None:
    for match in (None, "tts:*", "tts:{vioce}:{text}", "tts:{text}:{text}"):
        with pytest.raises(InvalidRequest, match="--match"):
            RedisKeys("redis://127.0.0.1:1", match, None, {}, MOST)
    source = RedisKeys("redis://:SECRET@127.0.0.1:1", "tts:{text}", None, {}, MOST)
    with pytest.raises(InvalidRequest, match="Redis does not answer") as refused:
        await anext(aiter(source.pieces()))
    assert "SECRET" not in str(refused.value)
    await source.aclose()


# ── the command ──────────────────────────────────────────────────────────────────────────────────


def test_the_command(command: Any, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "theirs.db") as theirs:
        theirs.execute("CREATE TABLE tts_cache (id INTEGER PRIMARY KEY, said TEXT, voice TEXT, audio BLOB)")
        rows = [(1, TEXT, "nova", recording()), (2, "No audio.", "nova", b"no")]
        theirs.executemany("INSERT INTO tts_cache VALUES (?, ?, ?, ?)", rows)
    told = [
        "import",
        f"sqlite:///{tmp_path}/theirs.db",
        "--table",
        "tts_cache",
        "--model",
        "tts-1",
        "--format",
        "mp3",
    ]
    told += ["--column", "text=said", "--column", "voice=voice", "--column", "data=audio"]
    looked = command(*told, "--dry-run")
    assert (looked.exit_code, "1 would be imported" in looked.output) == (1, True)
    done = command(*told)
    assert (done.exit_code, "1 imported" in done.output) == (1, True)
    assert "  id 2: it is no mp3 audio in mp3." in done.output
    with sqlite3.connect(tmp_path / "theirs.db") as theirs:
        theirs.execute("DELETE FROM tts_cache WHERE id = 2")
    again = command(*told, "--json")
    assert again.exit_code == 0
    assert '"imported": 0, "known": 1, "busy": 0, "refused": 0' in again.output


@pytest.mark.parametrize("told", [["--column", "text"], ["--column", "a=b", "--column", "a=c"], []])
def test_the_command_refuses(command: Any, tmp_path: Path, told: list[str]) -> None:
    refused = command("import", f"sqlite:///{tmp_path}/theirs.db", *told)
    assert isinstance(refused.exception, InvalidRequest)
