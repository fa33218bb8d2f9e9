"""`python -m sayonce.testing.vendors`."""

from __future__ import annotations

import argparse

import uvicorn

from sayonce.testing.servers import free_socket
from sayonce.testing.vendors.app import FakeVendors


def main() -> None:
    """Serves until interrupted; the first line of its output is its base URL."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--first-byte", type=float, default=0.0)
    parser.add_argument("--pace", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, help="how long everything lasts")
    parser.add_argument("--same", action="store_true", help="every text sounds the same")
    parser.add_argument("--most", type=int, help="more at a time are refused")
    given = parser.parse_args()
    vendors = FakeVendors()
    for vendor in vendors.all.values():
        vendor.behave(
            first_byte=given.first_byte,
            pace=given.pace,
            seconds=given.seconds,
            same=given.same,
            most=given.most,
        )
    listener = free_socket(given.port)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)  # noqa: T201
    server = uvicorn.Server(uvicorn.Config(vendors, log_level="error", lifespan="off", ws="none"))
    server.run([listener])


if __name__ == "__main__":
    main()
