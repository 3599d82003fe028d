"""HTTP clients of servers: key, certificates, and proxies, which servers on this machine need not.

What the environment says wrongly of proxies or certificates is the user's mistake, in one line.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import proxy_bypass

import httpx2

from vlmbench.backends.reading import NO_COMPRESSION
from vlmbench.errors import VlmbenchError

CONNECT_TIMEOUT_S = 10.0

CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")

PROXIES = tuple(
    name for low in ("http_proxy", "https_proxy", "all_proxy") for name in (low, low.upper())
)


def client(url: str, key: str, timeout_s: float) -> httpx2.Client:
    """Client for a few short questions.

    Raises: VlmbenchError for a proxy or certificates that cannot be used.
    """
    with _told(url):
        transport = httpx2.HTTPTransport() if _is_direct(url) else None
        return httpx2.Client(headers=_headers(key), timeout=timeout_s, transport=transport)


def async_client(url: str, key: str, concurrency: int) -> httpx2.AsyncClient:
    """Client for `concurrency` requests, timed out by the caller.

    Raises: VlmbenchError as `client`.
    """
    limits = httpx2.Limits(max_connections=concurrency)
    with _told(url):
        return httpx2.AsyncClient(
            headers={**_headers(key), "Content-Type": "application/json"},
            timeout=httpx2.Timeout(None, connect=CONNECT_TIMEOUT_S),
            limits=limits,
            transport=httpx2.AsyncHTTPTransport(limits=limits) if _is_direct(url) else None,
        )


def network_to(url: str) -> str:
    """What lies between us and a server: "loopback", or the server's host."""
    host = httpx2.URL(url).host
    return "loopback" if _is_here(host) else host


def _is_here(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def _is_direct(url: str) -> bool:
    """True if no proxy is to be asked: the server is on this machine, or in NO_PROXY."""
    host = httpx2.URL(url).host
    return _is_here(host) or bool(proxy_bypass(host))


def proxy_of(url: str) -> str:
    """Words for the proxy between us and a server, with the way round it; empty: none."""
    scheme, host = httpx2.URL(url).scheme, httpx2.URL(url).host
    names = (f"{scheme}_proxy", "all_proxy")
    given = (name for low in names for name in (low, low.upper()) if os.environ.get(name))
    if _is_direct(url) or not (name := next(given, "")):
        return ""
    return f" through the proxy in {name}, which NO_PROXY={host} leaves out"


def _headers(key: str) -> dict[str, str]:
    return NO_COMPRESSION | ({"Authorization": f"Bearer {key}"} if key else {})


@contextmanager
def _told(url: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        for name in CERTIFICATES:
            if (value := os.environ.get(name)) and not Path(value).exists():
                raise VlmbenchError(f"{name} names {value}, which is not there") from None
        raise VlmbenchError(f"the certificates cannot be loaded: {error}") from None
    except (ImportError, ValueError, httpx2.InvalidURL) as error:
        given = [name for name in PROXIES if os.environ.get(name)]
        reason = " ".join(str(error).split())
        if isinstance(error, ImportError):
            reason = "a SOCKS proxy needs the package socksio (pip install 'httpx2[socks]')"
        raise VlmbenchError(
            f"the proxy in {' or '.join(given) or 'the environment'} cannot be used: {reason}; "
            f"NO_PROXY={httpx2.URL(url).host} leaves it out"
        ) from None
