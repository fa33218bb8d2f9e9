"""Audio is proved beside the event loop, by a decoder that takes nothing along when it dies."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator

import psutil
import pytest
from tests.conftest import until

from sayonce.audio import proving
from sayonce.audio.probe import Undecodable, probe
from sayonce.audio.proving import Prover
from sayonce.speech.formats import BY_NAME, MP3, WAV
from sayonce.testing.vendors.sound import audio

CLIPS = {name: audio("a few words", 1.0, audio_format) for name, audio_format in BY_NAME.items()}


def decoders() -> list[psutil.Process]:
    """The decoders of this process."""
    return [child for child in psutil.Process().children() if _is_decoder(child)]


def _is_decoder(child: psutil.Process) -> bool:
    try:
        return child.status() != psutil.STATUS_ZOMBIE and "proving_worker" in " ".join(child.cmdline())
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
async def prover() -> AsyncIterator[Prover]:
    prover = Prover()
    yield prover
    await prover.aclose()
    await until(lambda: not decoders())


async def test_alone_needs_no_process(prover: Prover) -> None:
    for _ in range(2):
        assert await prover.prove(CLIPS["mp3"], MP3) == probe(CLIPS["mp3"], MP3)
    assert not decoders()


async def test_several_at_once_are_proved_as_one_is(prover: Prover) -> None:
    clips = [(data, BY_NAME[name]) for name, data in CLIPS.items()] * 3
    found = await asyncio.gather(*(prover.prove(data, audio_format) for data, audio_format in clips))
    assert found == [probe(data, audio_format) for data, audio_format in clips]
    assert decoders()


async def test_what_is_broken_is_told_alike(prover: Prover) -> None:
    broken = [CLIPS["mp3"][:-7], b"no audio at all" * 90, b"", CLIPS["opus"], CLIPS["mp3"]]
    found = await asyncio.gather(*(prover.prove(data, MP3) for data in broken), return_exceptions=True)
    assert [_told(each) for each in found] == [_told(_alone(data)) for data in broken]
    assert sum(isinstance(each, Undecodable) for each in found) == 4


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
async def test_a_decoder_that_dies_is_replaced(prover: Prover, how: signal.Signals) -> None:
    await asyncio.gather(*(prover.prove(CLIPS["mp3"], MP3) for _ in range(4)))
    for decoder in decoders():
        decoder.send_signal(how)
    assert await prover.prove(CLIPS["mp3"], MP3) == probe(CLIPS["mp3"], MP3)


async def test_what_no_decoder_survives_is_undecodable(prover: Prover, monkeypatch: pytest.MonkeyPatch) -> None:
    await asyncio.gather(*(prover.prove(CLIPS["mp3"], MP3) for _ in range(4)))

    async def deadly(decoder: object, *_: object) -> None:
        for each in decoders():
            each.kill()
        await proving.PipedProcess.frame(decoder)  # type: ignore[arg-type]

    monkeypatch.setattr(proving, "_proved", deadly)
    with pytest.raises(Undecodable, match="survive"):
        await prover.prove(CLIPS["mp3"], MP3)


async def test_a_decoder_that_cannot_start_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sayonce.piped.sys.executable", "/nowhere/python")
    prover = Prover()
    found = await asyncio.gather(*(prover.prove(CLIPS["mp3"], MP3) for _ in range(4)))
    assert set(found) == {probe(CLIPS["mp3"], MP3)}
    await prover.aclose()


async def test_a_decoder_that_ends_at_once_is_done_without(prover: Prover) -> None:
    prover._decoders._arguments = ("-c", "pass")
    found = await asyncio.gather(*(prover.prove(CLIPS["mp3"], MP3) for _ in range(4)))
    assert set(found) == {probe(CLIPS["mp3"], MP3)}


async def test_what_is_not_decoded_needs_nobody(prover: Prover) -> None:
    await asyncio.gather(*(prover.prove(CLIPS["wav"], WAV) for _ in range(4)))
    assert not decoders()


async def test_decoders_with_nothing_to_do_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proving, "_IDLE", 0.05)
    prover = Prover()
    await asyncio.gather(*(prover.prove(CLIPS["mp3"], MP3) for _ in range(4)))
    await until(lambda: not decoders())
    assert await prover.prove(CLIPS["mp3"], MP3) == probe(CLIPS["mp3"], MP3)
    await prover.aclose()


async def test_decoders_know_no_secret(prover: Prover, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    await asyncio.gather(*(prover.prove(CLIPS["mp3"], MP3) for _ in range(4)))
    assert {decoder.environ().get("OPENAI_API_KEY") for decoder in decoders()} == {None}


async def test_whoever_gives_up_costs_only_their_own(prover: Prover) -> None:
    await asyncio.gather(*(prover.prove(CLIPS["mp3"], MP3) for _ in range(4)))
    proofs = [asyncio.create_task(prover.prove(CLIPS["mp3"], MP3)) for _ in range(6)]
    await asyncio.wait(proofs, return_when=asyncio.FIRST_COMPLETED)
    proofs[-1].cancel()
    found = await asyncio.gather(*proofs, return_exceptions=True)
    assert set(found[:-1]) == {probe(CLIPS["mp3"], MP3)}


def _alone(data: bytes) -> object:
    try:
        return probe(data, MP3)
    except Undecodable as error:
        return error


def _told(found: object) -> object:
    return str(found) if isinstance(found, Undecodable) else found
