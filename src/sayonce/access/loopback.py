"""An open gateway is for its own machine alone.

Where no key exists, whoever reaches the port may speak. Listening on loopback keeps other machines out, but not a
web page in the user's browser (a foreign Origin, or a Host that was rebound), nor a proxy on the same machine: so
those are refused.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable
from functools import lru_cache
from urllib.parse import urlsplit

from sayonce.errors import Forbidden, InvalidSettings

#: What proxies add, beside all that begins with `x-forwarded-`.
FORWARDED = frozenset(
    {
        b"forwarded",
        b"via",
        b"x-real-ip",
        b"x-client-ip",
        b"cf-connecting-ip",
        b"true-client-ip",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-proto",
    }
)
_HOW_ON = "Make an API key (sayonce keys create); then the gateway may be reached from elsewhere."


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    host = host.strip("[]").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_strangers(headers: Iterable[tuple[bytes, bytes]], origins: Collection[str]) -> None:
    """Forbidden where a request to an open gateway was forwarded, names another host, or comes from a web page of
    elsewhere that `origins` does not allow."""
    for name, value in headers:
        if name == b"host":
            if not is_loopback(_host_of(value.decode("latin-1"))):
                raise Forbidden(
                    "This gateway has no keys and answers only to its own machine's name.", remedy=_HOW_ON
                )
        elif name == b"origin":
            origin = value.decode("latin-1")
            if origin not in origins and not is_loopback(_page_host(origin)):
                raise Forbidden("This gateway has no keys and answers no web page of elsewhere.", remedy=_HOW_ON)
        elif name in FORWARDED or name.startswith(b"x-forwarded-"):
            raise Forbidden("This gateway has no keys and answers nothing that was forwarded.", remedy=_HOW_ON)


def refuse_open_doors(host: str, keys: int) -> None:
    """InvalidSettings where a gateway without keys is to listen to other machines."""
    if keys == 0 and not is_loopback(host):
        raise InvalidSettings(
            f"The gateway was to listen on {host} without any API key: anybody could speak at your cost.",
            remedy="Make a key first (sayonce keys create --role speak), or listen on 127.0.0.1.",
        )


def _page_host(origin: str) -> str:
    """The host of a web page's origin; none where it cannot be read."""
    try:
        return urlsplit(origin).hostname or ""
    except ValueError:
        return ""


def _host_of(header: str) -> str:
    return header.rpartition(":")[0] if header.rpartition(":")[2].isdecimal() and header[-1:] != "]" else header
