"""The clients that do not await, before a real gateway, from threads, forks and interrupts."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sayonce import settings as configuration
from sayonce.client import Client, SyncClient, SyncEmbeddedClient, SyncSpeaker
from sayonce.errors import (
    ClientMisused,
    GatewayRefused,
    InvalidRequest,
    InvalidText,
    ProviderUnavailable,
    SayonceError,
)
from sayonce.testing.vendors.behaviour import Gate
from tests.conftest import House, until

T = TypeVar("T")


def made(kind: str, house: House, folder: Path) -> SyncSpeaker:
    """A client of that kind; the embedded one is a gateway of its own, before the same vendor."""
    if kind == "http":
        return SyncClient(house.url, timeout=10)
    vendor = house.gateway.settings
    return SyncEmbeddedClient(
        configuration.load(
            data_dir=folder / "embedded", openai_base_url=vendor.openai_base_url, openai_api_key="sk-x"
        )
    )


async def apart(call: Callable[..., T], *args: Any) -> T:
    """Calls in a thread, while the house serves in this one."""
    return await asyncio.to_thread(call, *args)


kinds = pytest.mark.parametrize("kind", ["http", "embedded"])


@kinds
async def test_it_says_streams_and_counts(kind: str, house: House, tmp_path: Path) -> None:
    def use() -> None:
        with made(kind, house, tmp_path) as say:
            first, second = say.speech("Hello.", voice="nova"), say.speech("Hello.", voice="nova")
            assert (first.outcome, second.outcome) == ("miss", "hit")
            assert (first.content_hash, first.provider) == (second.content_hash, "openai")
            assert b"".join(say.stream("Hello.", voice="nova")) == second.audio == first.audio
            told = say.statistics()
            assert (told["entries"], told["hits"], told["misses"]) == (1, 2, 1)
            with pytest.raises(SayonceError) as refused:
                say.speech("Hello.", voice="nova", format="mp9")
            assert not isinstance(refused.value, ClientMisused)

    await apart(use)
    assert house.calls == 1


@kinds
async def test_it_streams_what_has_come(kind: str, house: House, tmp_path: Path) -> None:
    gate = Gate(after=6_000)
    house.vendors.behave(gate=gate, seconds=5.0)
    with made(kind, house, tmp_path) as say:
        stream = await apart(say.stream, "A long one.")
        assert await apart(next, stream)
        assert gate.waiting == 1, "the vendor has not said all of it"
        gate.open()
        assert sum(map(len, await apart(list, stream))) > 6_000
        await apart(say.close)


async def test_streams_that_are_left_early_free_their_connections(house: House) -> None:
    """More of them than a client has connections."""
    await house.speak("Hello.")

    def use() -> None:
        with SyncClient(house.url, timeout=5) as say:
            for _ in range(150):
                next(say.stream("Hello.", voice="nova"))

    await apart(use)


@kinds
async def test_many_threads_share_one(kind: str, house: House, tmp_path: Path) -> None:
    """From the very first call on: what starts then starts once."""
    together = threading.Barrier(16)

    def use() -> None:
        def ask(n: int) -> bytes:
            together.wait(10)
            return say.speech("One text.", voice="nova").audio

        with made(kind, house, tmp_path) as say, ThreadPoolExecutor(16) as crowd:
            assert len(set(crowd.map(ask, range(16)))) == 1

    await apart(use)
    assert house.calls == 1


async def test_it_refuses_to_block_an_event_loop(house: House) -> None:
    say = SyncClient(house.url)
    for call in (lambda: say.speech("Hello."), lambda: say.stream("Hello."), say.statistics):
        with pytest.raises(ClientMisused, match="would block the event loop of this thread"):
            call()
    assert (await apart(lambda: say.speech("Hello.", voice="nova"))).outcome == "miss"
    say.close()


async def test_errors_are_the_same(house: House) -> None:
    say = SyncClient(house.url)
    with pytest.raises(GatewayRefused, match="empty"):
        await apart(say.speech, "")
    say.close()
    with pytest.raises(ClientMisused, match="closed"):
        await apart(say.speech, "Hello.")
    with pytest.raises(ClientMisused, match="closed"):
        await apart(lambda: list(say.stream("Hello.")))
    nobody = SyncClient("http://127.0.0.1:9")
    for call in (lambda: nobody.speech("Hello."), nobody.statistics):
        with pytest.raises(ProviderUnavailable, match="cannot be reached"):
            await apart(call)
    await apart(nobody.close)


_FORKED = """
import os, sys, warnings
warnings.simplefilter("ignore")
from sayonce.client import Client, SyncClient
from sayonce.errors import ClientMisused
with SyncClient(sys.argv[1]) as say:
    print(say.speech("Hello.", voice="nova").outcome, flush=True)
    if not os.fork():
        try:
            say.speech("Hello.", voice="nova")
        except ClientMisused as error:
            print(error, flush=True)
        with SyncClient(sys.argv[1]) as own:
            print(own.speech("Hello.", voice="nova").outcome, flush=True)
        say.close()
        os._exit(0)
    os.wait()
    print(say.speech("Hello.", voice="nova").outcome, flush=True)
"""

_INTERRUPTED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would inherit that it is ignored
from sayonce.client import Client, SyncClient
with SyncClient(sys.argv[1]) as say:
    for piece in say.stream("A long one.", voice="nova"):
        print("heard", flush=True)
"""


async def script(text: str, house: House) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(sys.executable, "-c", text, house.url, stdout=pipe, stderr=pipe)


async def test_a_fork_says_so_and_makes_its_own(house: House) -> None:
    out, err = await (await script(_FORKED, house)).communicate()
    assert err == b""
    told = "This client was at work before the process forked. Make another one after the fork."
    assert out.decode().splitlines() == ["miss", told, "hit", "hit"]


async def test_ctrl_c_ends_it_at_once_and_what_is_paid_for_lands(house: House) -> None:
    gate = Gate(after=6_000)
    house.vendors.behave(gate=gate, seconds=5.0)
    process = await script(_INTERRUPTED, house)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"heard\n"
    process.send_signal(signal.SIGINT)
    _, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == -signal.SIGINT
    assert err.decode().rstrip().endswith("KeyboardInterrupt")
    assert b"Task exception" not in err
    gate.open()
    await until(lambda: house.gateway.engine.flying == 0)
    assert await house.rows() == 1


@pytest.mark.parametrize(
    "base_url", ["nonsense", "", "127.0.0.1:8700", "ftp://here", "http://", "http:///v1", "http://a:b", "/v1", None]
)
@pytest.mark.parametrize("kind", [Client, SyncClient])
def test_a_base_url_that_is_none_is_refused_at_once(kind: Any, base_url: Any) -> None:
    with pytest.raises(ClientMisused, match="Give one such as http"):
        kind(base_url)


@kinds
@pytest.mark.parametrize("text", [None, b"Hello.", 7, "", "  "])
async def test_what_is_no_text_is_refused(kind: str, text: Any, house: House, tmp_path: Path) -> None:
    def use() -> None:
        with made(kind, house, tmp_path) as say:
            for call in (say.speech, lambda text: list(say.stream(text))):
                with pytest.raises((InvalidText, GatewayRefused)) as refused:
                    call(text)
                assert isinstance(refused.value, InvalidText) or refused.value.answer_code == "invalid_text"

    await apart(use)
    assert house.calls == 0


@kinds
async def test_a_scope_that_is_none_is_refused(kind: str, house: House, tmp_path: Path) -> None:
    with made(kind, house, tmp_path) as say:
        with pytest.raises((InvalidRequest, GatewayRefused), match="There is no such scope"):
            await apart(lambda: say.speech("Hello.", scope="everybody"))
        await apart(say.close)
