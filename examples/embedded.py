"""sayonce in your own process, on the same folder as a gateway's if you like. `python examples/embedded.py`"""

import asyncio

from sayonce.client import EmbeddedClient


async def main() -> None:
    async with EmbeddedClient() as client:
        for _ in range(2):
            spoken = await client.speech("Say it once.", voice="nova")
            print(spoken.outcome, len(spoken.audio), "bytes")


asyncio.run(main())
