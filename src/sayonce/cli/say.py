"""`sayonce say`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from sayonce import loops
from sayonce import settings as configuration
from sayonce.errors import InvalidRequest


def say(
    text: Annotated[str, typer.Argument(help="What to say; `-` reads it from standard input.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write the audio to; `-` is standard output.")
    ] = None,
    voice: Annotated[str | None, typer.Option(help="A voice, or upstream/voice (`espeak/en-gb`).")] = None,
    model: Annotated[str | None, typer.Option(help="A model of the upstream's.")] = None,
    language: Annotated[str | None, typer.Option(help="The language, such as `de`.")] = None,
    speed: Annotated[float, typer.Option(help="How fast: 1 is normal.")] = 1.0,
    audio_format: Annotated[
        str | None, typer.Option("--format", help="mp3, opus, aac, flac, wav or pcm; else as the file's name ends.")
    ] = None,
    refresh: Annotated[bool, typer.Option(help="Speak it anew, in place of what is kept.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """Say a text, once: prints whether it was kept already, how long it took, what it cost and saved.

    Works on the same data folder as a running gateway. `sayonce say "Hello." -o hello.mp3`
    """
    if text == "-":
        text = sys.stdin.read()
    ending = output.suffix.lstrip(".") if output is not None else ""
    manner = {
        "voice": voice,
        "model": model,
        "language": language,
        "speed": speed,
        "format": audio_format or ending or "mp3",
        "no_cache": refresh,
    }
    audio, told = loops.run(_say(text, manner))
    _write(output, audio)
    _report(told, output, as_json=as_json)


async def _say(text: str, manner: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
    from sayonce.api.costs import money
    from sayonce.cache.answers import whole
    from sayonce.client import EmbeddedClient, Manner, chain_of

    async with EmbeddedClient(configuration.load()) as client:
        gateway = await client.gateway()
        began = time.perf_counter()
        answer = await gateway.engine.say(chain_of(gateway, text, Manner(**manner)))
        clip = await whole(answer)
        took = time.perf_counter() - began
        paid = answer.outcome not in ("hit", "joined")
        return clip.data, {
            "outcome": str(answer.outcome),
            "milliseconds": round(took * 1000, 1),
            **money(clip.asset.cost, gateway.settings.currency, spoken=paid),
            "provider": clip.asset.upstream,
            "voice": clip.asset.voice,
            "seconds": round(clip.asset.duration, 3),
            "bytes": len(clip.data),
            "content_hash": clip.asset.content_hash.hex(),
        }


def _write(output: Path | None, audio: bytes) -> None:
    if output is None:
        return
    if str(output) == "-":
        sys.stdout.buffer.write(audio)
        return
    try:
        output.write_bytes(audio)
    except OSError as error:
        raise InvalidRequest(
            f"{output} cannot be written: {error.strerror}.",
            remedy="Name another file; the audio is kept all the same.",
        ) from error


def _report(told: dict[str, Any], output: Path | None, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(told), file=sys.stderr if str(output) == "-" else sys.stdout)
        return
    console = Console(stderr=str(output) == "-", highlight=False)
    colour = "green" if told["outcome"] in ("hit", "joined") else "yellow"
    console.print(
        f"[bold {colour}]{told['outcome']}[/]  {told['milliseconds']:g} ms  "
        f"{told['seconds']:g} s of {told['provider']}/{told['voice']}  "
        f"cost {_money(told, 'cost')}  saved {_money(told, 'saved')}"
    )
    if output is not None and str(output) != "-":
        console.print(f"wrote {output} ({told['bytes']:,} bytes)")


def _money(told: dict[str, Any], what: str) -> str:
    amount = told[what]
    return "unknown" if amount is None else f"{amount:.6f}".rstrip("0").rstrip(".") + f" {told['currency']}"
