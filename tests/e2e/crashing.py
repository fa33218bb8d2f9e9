"""A process that dies at a named step (or `never`): `crashing.py ACTION STEP COUNT`, with its settings in its
environment.

The steps are what sayonce announces through `sys.audit`, and the `os.rename` that Python announces itself.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

from sayonce import settings
from sayonce.app import Gateway, running
from sayonce.cache.answers import whole
from sayonce.cache.orders import Steering
from sayonce.catalog.records import Tenant
from sayonce.speech.requests import SpeechRequest
from sayonce.testing.waiting import until

TEXT, NEW_TEXT = "A text that is in the way of a crash.", "A greeting that is told just before a crash."


def main() -> None:
    action, step, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if step == "never":
        os.kill(os.getpid(), signal.SIGUSR1)  # who traces this process does so from here on
    asyncio.run(run(action, lambda: sys.addaudithook(Crash(step, count))))
    print("survived", flush=True)


class Crash:
    """Kills this process, as a power cut would, at the n-th time that a step is reached."""

    def __init__(self, step: str, count: int) -> None:
        self._step = step
        self._left = count

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        reached = f"{event}:{args[0]}" if event.startswith("sayonce.") else event
        if reached == self._step:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


async def greet(gateway: Gateway, text: str) -> None:
    """Tells the shop's greeting, and returns when callers hear it."""

    async def heard() -> bool:
        found = await gateway.greetings.asset("shop")
        return found is not None and found.text == text

    await gateway.catalog.put_tenant(Tenant("shop", greeting=text))
    await gateway.greetings.see_to("shop")
    await until(heard)
    await gateway.queue.line.aclose()  # which settles, too
    await gateway.greetings.settle("shop")


async def run(action: str, arm: Any) -> None:
    async with running(settings.load()) as gateway:
        request = SpeechRequest(text=TEXT, model="tts-1", voice="nova")
        await gateway.catalog.newest_change()
        await gateway.storages["local"].probe()
        if action == "greet":
            await greet(gateway, TEXT)
            print("prepared", flush=True)
            sys.stdin.readline()
            arm()
            await greet(gateway, NEW_TEXT)
            return
        if action == "keep":
            arm()
            await whole(await gateway.engine.say(gateway.cast.chain(request, Steering())))
            return
        chain = gateway.cast.chain(request, Steering())
        await whole(await gateway.engine.say(chain))
        print("prepared", flush=True)
        sys.stdin.readline()
        arm()
        if action == "refresh":
            await whole(await gateway.engine.say(gateway.cast.chain(request, Steering(no_cache=True))))
        else:
            await gateway.engine.remove(chain.first.content_hash, "default", lambda owner: True)


if __name__ == "__main__":
    main()
