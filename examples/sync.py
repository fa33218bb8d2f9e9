"""sayonce where nothing awaits: a script, a Flask or Django view, a thread. `python examples/sync.py [URL]`

With the address of a gateway it asks that one; without, it is a gateway itself, on the folder of yours.
"""

import sys

from sayonce.client import SyncClient, SyncEmbeddedClient

with SyncClient(sys.argv[1]) if sys.argv[1:] else SyncEmbeddedClient() as say:
    for _ in range(2):
        spoken = say.speech("Say it once.", voice="nova")
        print(spoken.outcome, len(spoken.audio), "bytes")
    pieces = [len(piece) for piece in say.stream("Hear it as it comes.", voice="nova")]
    print("heard", sum(pieces), "bytes")
    print("kept", say.statistics()["entries"], "clips")
