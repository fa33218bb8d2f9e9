"""The page on importing, exporting and moving is so; and a move that is killed loses nothing."""

from __future__ import annotations

import asyncio
import re
import shlex
import signal
import sqlite3
from pathlib import Path

import httpx

from sayonce.speech.formats import MP3
from sayonce.storage.local import LocalStorage
from sayonce.testing.redis import RedisServer
from sayonce.testing.servers import serving
from sayonce.testing.vendors import FakeVendors
from sayonce.testing.vendors.sound import audio, length_of
from tests.chaos.buckets import bucket_server
from tests.conftest import until
from tests.e2e.processes import SAYONCE, command, environment, serving_process

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "import.md").read_text(encoding="utf-8")
TEXT = "A text that was spoken long ago."


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def written(word: str) -> list[list[str]]:
    """The page's commands that begin so, in words."""
    lines = "".join(blocks("sh")).replace("\\\n", " ").splitlines()
    return [shlex.split(line.partition("sayonce ")[2]) for line in lines if f"sayonce {word}" in line]


def recording(text: str) -> bytes:
    return audio(text, length_of(text), MP3)


async def run(words: list[str], env: dict[str, str]) -> str:
    code, out, err = await command(*words, env=env)
    assert code == 0, out + err
    return out


async def test_the_pages_imports_and_exports(tmp_path: Path, redis: RedisServer) -> None:
    table, paths, folder, keys, back = written("import")
    [export] = written("export")
    with sqlite3.connect(tmp_path / "old.db") as old:
        old.execute("CREATE TABLE tts_cache (id INTEGER PRIMARY KEY, content_text TEXT, voice TEXT, audio_data BLOB)")
        old.execute("INSERT INTO tts_cache VALUES (1, ?, 'nova', ?)", [TEXT, recording(TEXT)])
        old.execute("CREATE TABLE book_audio (id INTEGER PRIMARY KEY, passage TEXT, storage_path TEXT)")
        old.execute("INSERT INTO book_audio VALUES (1, ?, 'books/1.mp3')", [TEXT + " A book."])
    storage = LocalStorage("local", tmp_path / "data" / "audio")
    await storage.write("books/1.mp3", recording(TEXT + " A book."), {})
    await storage.aclose()
    (tmp_path / "recordings").mkdir()
    [manifest] = blocks("yaml")
    (tmp_path / "recordings" / "manifest.yaml").write_text(manifest)
    texts = dict(re.findall(r'file: (\S+), text: "?(.*?)"?}', manifest))
    for name, text in texts.items():
        (tmp_path / "recordings" / name).write_bytes(recording(text))
    from redis import Redis

    Redis.from_url(redis.url()).set(f"tts:nova:{TEXT} A key.", recording(TEXT + " A key."))
    env = environment(tmp_path / "data", "http://127.0.0.1:9")
    for words in (table, paths, folder, keys):
        there = [word.replace("sqlite:///", f"sqlite:///{tmp_path}/") for word in words]
        there = [str(tmp_path / word) if word == "recordings" else word for word in there]
        there = [redis.url() if word.startswith("redis://") else word for word in there]
        many = len(texts) if words is folder else 1
        assert f"{many} imported" in await run(there, env)
    assert "5 written" in await run([str(tmp_path / word) if word == "backup" else word for word in export], env)
    env = environment(tmp_path / "elsewhere", "http://127.0.0.1:9")
    assert "5 imported" in await run(["import", str(tmp_path / "backup"), *back[2:]], env)
    said = await run(
        ["say", TEXT, "--voice", "nova", "--model", "tts-1", "--output", str(tmp_path / "said.mp3")], env
    )
    assert (tmp_path / "said.mp3").read_bytes() == recording(TEXT), said


async def test_a_move_that_is_killed_under_load_loses_nothing(tmp_path: Path) -> None:
    [move] = written("move")
    vendors = FakeVendors()
    with bucket_server() as port:
        async with httpx.AsyncClient() as http:
            (await http.put(f"http://127.0.0.1:{port}/speech")).raise_for_status()
        told = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "a secret",
            "SAYONCE_STORAGES": '{"database://": {"url": "database://"}, "s3://speech": {"timeout": "20"}}',
            "SAYONCE_STORAGE_PATIENCE": "20",  # a busy machine is no trouble of the storage's
            "SAYONCE_STORAGE": "database://",
            "SAYONCE_MEMORY": "0",
            "SAYONCE_POLL_SECONDS": "0.05",
        }
        async with serving(vendors) as vendor, serving_process(tmp_path / "data", vendor, **told) as server:
            env = environment(tmp_path / "data", vendor, **told)
            await _moved_while_asked(server.url, tmp_path / "data", move, env)
    assert vendors.counts.calls == 60


async def _moved_while_asked(url: str, data: Path, move: list[str], env: dict[str, str]) -> None:
    seen: set[tuple[int, str | None]] = set()
    async with httpx.AsyncClient(base_url=url, timeout=60.0) as http:

        async def ask(n: int) -> tuple[int, str | None]:
            asked = {"model": "tts-1", "voice": "nova", "input": f"{TEXT} {n}"}
            answer = await http.post("/v1/audio/speech", json=asked)
            return answer.status_code, answer.headers.get("x-tts-cache")

        assert {await ask(n) for n in range(60)} == {(200, "miss")}
        over = asyncio.Event()

        async def listen() -> None:
            asked = 0
            while not over.is_set():
                seen.add(await ask(asked % 60))
                asked += 7

        listening = [asyncio.create_task(listen()) for _ in range(3)]
        killed = await asyncio.create_subprocess_exec(*SAYONCE, *move, env=env)
        await until(lambda: killed.returncode is not None or _held(data).get("s3://speech", 0) > 0)
        if killed.returncode is None:
            killed.send_signal(signal.SIGKILL)
        await killed.wait()
        await run(move, env)
        over.set()
        await asyncio.gather(*listening)
        assert _held(data) == {"s3://speech": 60}
        assert {await ask(n) for n in range(60)} | seen == {(200, "hit")}


def _held(data: Path) -> dict[str, int]:
    with sqlite3.connect(f"file:{data / 'catalog.db'}?mode=ro", uri=True) as catalog:
        return dict(catalog.execute("SELECT storage, count(*) FROM blobs GROUP BY storage").fetchall())
