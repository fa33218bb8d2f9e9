"""Processes on one data folder: gateways, and commands beside them."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
from pathlib import Path

import httpx

from sayonce.testing.servers import serving
from sayonce.testing.vendors import FakeVendors
from tests.conftest import until
from tests.e2e.processes import command, environment, refuse_unsound, serving_process

TEXT = "One cold text, asked for everywhere at once."


async def ask(url: str, text: str = TEXT) -> httpx.Response:
    async with httpx.AsyncClient(timeout=60) as http:
        return await http.post(f"{url}/v1/audio/speech", json={"model": "tts-1", "voice": "nova", "input": text})


async def test_two_gateways_and_a_command_pay_once(tmp_path: Path) -> None:
    vendors = FakeVendors()
    vendors.behave(first_byte=4.0)  # until all of them wait
    folder = tmp_path / "data"
    async with (
        serving(vendors) as upstream,
        serving_process(folder, upstream) as one,
        serving_process(folder, upstream) as two,
    ):
        env = environment(folder, upstream)
        saying = command(
            "say", TEXT, "--voice", "nova", "--model", "tts-1", "-o", f"{tmp_path}/said.mp3", "--json", env=env
        )
        answers = [ask(server.url) for server in (one, two) for _ in range(10)]
        (code, out, err), *heard = await asyncio.gather(saying, *answers)
    assert code == 0, err
    assert vendors.counts.calls == 1
    assert {answer.content for answer in heard} == {(tmp_path / "said.mp3").read_bytes()}
    outcomes = [answer.headers["x-tts-cache"] for answer in heard] + [json.loads(out)["outcome"]]
    assert sorted(outcomes) == ["joined"] * 20 + ["miss"]
    assert refuse_unsound(folder) == 1


async def test_an_owner_that_overslept_its_lease_lands_nothing(tmp_path: Path) -> None:
    vendors = FakeVendors()
    folder = tmp_path / "data"
    quick = {"SAYONCE_LEASE_SECONDS": "1"}
    async with (
        serving(vendors) as upstream,
        serving_process(folder, upstream, **quick) as sleeper,
        serving_process(folder, upstream, **quick) as other,
    ):
        vendors.behave(first_byte=0.5, seconds=3.0)
        first = asyncio.create_task(ask(sleeper.url))
        await until(lambda: vendors.counts.calls == 1)
        sleeper.signal(signal.SIGSTOP)
        vendors.behave(seconds=2.0)
        second = await ask(other.url)
        assert (second.headers["x-tts-cache"], vendors.counts.calls) == ("miss", 2)
        sleeper.signal(signal.SIGCONT)
        assert (await first).content != second.content
        assert refuse_unsound(folder) == 1
        for server in (sleeper, other):
            again = await ask(server.url)
            assert (again.headers["x-tts-cache"], again.content) == ("hit", second.content)
    assert vendors.counts.calls == 2


async def test_a_dead_owners_lease_expires_and_a_waiter_flies(tmp_path: Path) -> None:
    vendors = FakeVendors()
    folder = tmp_path / "data"
    quick = {"SAYONCE_LEASE_SECONDS": "1"}
    async with (
        serving(vendors) as upstream,
        serving_process(folder, upstream, **quick) as doomed,
        serving_process(folder, upstream, **quick) as other,
    ):
        vendors.behave(trouble="never")
        lost = asyncio.create_task(ask(doomed.url))
        await until(lambda: vendors.counts.calls == 1)
        waiting = asyncio.create_task(ask(other.url))
        vendors.behave()
        await doomed.kill()
        heard = await waiting
        assert (heard.status_code, heard.headers["x-tts-cache"]) == (200, "miss")
        await asyncio.gather(lost, return_exceptions=True)
    assert vendors.counts.calls == 2


async def test_a_failure_elsewhere_is_told_and_not_tried_in_turn(tmp_path: Path) -> None:
    vendors = FakeVendors()
    folder = tmp_path / "data"
    async with (
        serving(vendors) as upstream,
        serving_process(folder, upstream) as one,
        serving_process(folder, upstream) as two,
    ):
        vendors.behave(trouble="garbage", first_byte=0.5)
        heard = await asyncio.gather(ask(one.url), ask(two.url))
    assert {answer.status_code for answer in heard} == {502}
    assert vendors.counts.calls == 3  # one flight's three attempts


async def test_a_deletion_empties_the_other_gateways_memory(tmp_path: Path) -> None:
    vendors = FakeVendors()
    async with (
        serving(vendors) as upstream,
        serving_process(tmp_path, upstream, SAYONCE_POLL_SECONDS="0.1") as one,
        serving_process(tmp_path, upstream, SAYONCE_POLL_SECONDS="0.1") as two,
        httpx.AsyncClient() as http,
    ):
        content_hash = (await ask(one.url)).headers["x-content-hash"]
        assert (await ask(two.url)).headers["x-tts-cache"] == "hit"
        await http.delete(f"{one.url}/api/voice/{content_hash}")

        async def gone() -> bool:
            asked = {"cache-control": "only-if-cached"}
            body = {"model": "tts-1", "voice": "nova", "input": TEXT}
            return (await http.post(f"{two.url}/v1/audio/speech", json=body, headers=asked)).status_code == 504

        await until(gone)


async def test_a_key_closes_the_gateway_and_a_revoked_one_opens_nothing(tmp_path: Path) -> None:
    vendors = FakeVendors()
    async with (
        serving(vendors) as upstream,
        serving_process(tmp_path, upstream, SAYONCE_POLL_SECONDS="0.1") as server,
        httpx.AsyncClient() as http,
    ):
        env = environment(tmp_path, upstream)
        assert (await ask(server.url)).status_code == 200
        _, out, _ = await command("keys", "create", "--json", env=env)
        made = json.loads(out)

        async def status(key: str | None) -> int:
            headers = {} if key is None else {"authorization": f"Bearer {key}"}
            return (await http.get(f"{server.url}/v1/models", headers=headers)).status_code

        await until(lambda: _is(status(None), 401))
        assert await status(made["key"]) == 200
        assert (await command("keys", "revoke", made["id"], env=env))[0] == 0
        await until(lambda: _is(status(made["key"]), 200, 401))


async def _is(asked: object, *wanted: int) -> bool:
    return await asked in wanted  # type: ignore[misc]


async def test_without_keys_it_listens_to_nobody_else(tmp_path: Path) -> None:
    env = environment(tmp_path, "http://127.0.0.1:9", SAYONCE_HOST="0.0.0.0", SAYONCE_PORT="0")
    code, _, err = await command("serve", env=env)
    assert code == 2
    assert "sayonce keys create" in err


async def test_a_port_that_is_taken_is_said_so(tmp_path: Path) -> None:
    async with serving(FakeVendors()) as taken:
        env = environment(tmp_path, taken, SAYONCE_PORT=taken.rpartition(":")[2])
        code, _, err = await command("serve", env=env)
    assert code == 2
    assert "SAYONCE_PORT" in err


async def test_a_catalog_of_a_newer_version_is_not_served(tmp_path: Path) -> None:
    env = environment(tmp_path, "http://127.0.0.1:9", SAYONCE_PORT="0")
    assert (await command("stats", env=env))[0] == 0
    with sqlite3.connect(tmp_path / "catalog.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    code, _, err = await command("serve", env=env)
    assert (code, "9999" in err, "Traceback" in err) == (1, True, False)
